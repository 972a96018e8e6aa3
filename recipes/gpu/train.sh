#!/usr/bin/env bash
# Train on the staged parts: bash recipes/gpu/train.sh align | codec | generator, in this order.
# Each takes about eight minutes; *_MINUTES change that. A call that was cut off goes on where it last saved.
# *_ARGS are passed on to the programs, such as CODEC_ARGS="--set acoustic.batch_size=48".
. "$(dirname "$0")/common.sh"

CORPUS=$WORK/train.corpus
CODEC_ARGS=${CODEC_ARGS:-} GENERATOR_ARGS=${GENERATOR_ARGS:-} ALIGNER_ARGS=${ALIGNER_ARGS:-}

# Corpus, alignment and codes are made anew on a fresh machine; shards that are there are not made again.
corpus() {
  if [ -f "$CORPUS/index.safetensors" ]; then return; fi
  say "packing the corpus on $CORES cores"
  OMP_NUM_THREADS=1 "$PYTHON" -m speechkit prepare "$WORK"/parts/*/manifest.jsonl -o "$CORPUS" --workers "$CORES"
}

alignment() {
  say "aligning"
  "$PYTHON" -m speechkit align "$CORPUS" --model "$WORK/models/aligner"
}

codes() {
  say "encoding"
  "$PYTHON" -m speechkit encode "$CORPUS" --codec "$WORK/models/acoustic" --threads "$OMP_NUM_THREADS"
}

codec_phase() {   # phase, run, minutes, more arguments
  "$PYTHON" -m speechkit train codec "$1" --data "$CORPUS" --config recipes/facodec/gpu.toml \
    --out "$WORK/runs/$2" --minutes "$3" "${@:4}" $CODEC_ARGS
  release "$2"
}

polish() {
  local adversarial=(--set train.lr=4e-4 --set train.betas=[0.8,0.98])
  codec_phase decoder decoder "${DECODER_MINUTES:-2}" --init "$WORK/models/acoustic" "${adversarial[@]}"
  codec_phase finetune finetune "${FINETUNE_MINUTES:-1.5}" --init "$WORK/models/decoder"
  codec_phase adversarial codec "${ADVERSARIAL_MINUTES:-2.5}" --init "$WORK/models/finetune" "${adversarial[@]}"
}

train_aligner() {
  "$PYTHON" -m speechkit train aligner --data "$CORPUS" --out "$WORK/runs/aligner" \
    --minutes "${ALIGNER_MINUTES:-3.5}" $ALIGNER_ARGS
  release aligner
}

case "${1:-}" in
  align)
    corpus
    say "vocoder and aligner, side by side"
    codec_phase vocoder vocoder "${VOCODER_MINUTES:-5.5}" & vocoder=$!
    train_aligner
    alignment
    wait "$vocoder"
    bring_home aligner vocoder
    ;;
  codec)
    corpus
    alignment
    say "acoustic"
    codec_phase acoustic acoustic "${ACOUSTIC_MINUTES:-6.5}" --init "$WORK/models/vocoder"
    bring_home aligner acoustic
    codes
    ;;
  generator)
    corpus
    alignment
    codes
    say "generator, and beside it what leaves the codes alone: decoder, vocoder, vocoder against discriminators"
    polish & polish=$!
    "$PYTHON" -m speechkit train generator --data "$CORPUS" --codec "$WORK/models/acoustic" \
      --config recipes/diffusion/gpu.toml --out "$WORK/runs/generator" --minutes "${GENERATOR_MINUTES:-7}" $GENERATOR_ARGS
    release generator
    wait "$polish"
    bring_home codec generator
    ;;
  *)
    echo "usage: bash recipes/gpu/train.sh align|codec|generator" >&2
    exit 2
    ;;
esac
say "done: $1"
