# Sourced by the scripts beside it; they run from the top of the checkout.
set -euo pipefail

WORK=${WORK:-${HOME:-/tmp}/speechkit-gpu}      # stays on the machine between calls; outside the checkout
OUT=${OUT:-build/gpu/results}            # what is here at the end of a call comes back
PYTHON=${PYTHON:-python3}                # holds torch, numpy and safetensors; the wheels bring the rest
CORES=${CORES:-$(nproc)}
mkdir -p "$WORK/parts" "$WORK/runs" "$WORK/models" "$OUT"
export PYTHONPATH="$PWD:$WORK/site" PYTHONUNBUFFERED=1
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((CORES > 1 ? CORES / 2 : 1))}   # two programs share the cores

trap 'jobs -p | xargs -r kill 2>/dev/null || true' EXIT   # a program that is asked to stop saves first

say() { echo "$(date +%H:%M:%S)  == $*"; }

# models/NAME: the best export of runs/NAME (where no score ranks them, the last) in half precision, for the next stage
# and for the way home.
release() {
  local export=$WORK/runs/$1/best
  [ -d "$export" ] || export=$WORK/runs/$1/last
  "$PYTHON" -m speechkit release "$export" "$WORK/models/$1"
}

# Everything that another machine needs to go on, in numbered pieces that a small limit lets through.
bring_home() {
  for run in "$WORK"/runs/*/; do
    mkdir -p "$WORK/models/metrics"
    if [ -f "$run/metrics.jsonl" ]; then cp "$run/metrics.jsonl" "$WORK/models/metrics/$(basename "$run").jsonl"; fi
  done
  rm -f "$OUT"/models.tar.*
  tar -C "$WORK/models" -cf - "$@" metrics | split -b "${PIECE_BYTES:-15000000}" -d - "$OUT/models.tar."
  say "brought home: $* in $(ls "$OUT" | wc -l) pieces, $(du -sh "$OUT" | cut -f1)"
}
