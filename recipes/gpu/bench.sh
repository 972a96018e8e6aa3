#!/usr/bin/env bash
# Speed, memory and the codes of number formats: bash recipes/gpu/bench.sh
# DEVICE=cpu RUNS=1 FORMATS=bfloat16 rehearses it; MODEL=FOLDER takes other weights than the bundled ones. A run a format, so
# that each has its own peak memory; what is compared is timed in one run. The table is $OUT/bench.md.
. "$(dirname "$0")/common.sh"

DEVICE=${DEVICE:-cuda} RUNS=${RUNS:-5} FORMATS=${FORMATS:-bfloat16 float16} MODEL=${MODEL:-} COMPILE=${COMPILE:-yes}
PROMPT=${PROMPT:-speechkit/voices/synthetic_af_heart.flac}

bench() {   # name, more arguments
  say "$1"
  "$PYTHON" -m speechkit bench --prompt "$PROMPT" --device "$DEVICE" --runs "$RUNS" --json "${@:2}" > "$OUT/bench-$1.json"
}

model=(${MODEL:+--model "$MODEL"})
rm -f "$OUT"/bench-*.json
bench float32 "${model[@]}" --dtype float32
for format in $FORMATS; do
  bench "$format" "${model[@]}" --dtype "$format"
  bench "compare-$format" "${model[@]}" --compare "$format"
done
if [ "$COMPILE" = yes ]; then
  # The tool that compiles may be missing; the table is of use without it.
  TORCHDYNAMO_DISABLE=0 bench compiled "${model[@]}" --dtype auto --compile || rm -f "$OUT/bench-compiled.json"
fi
"$PYTHON" recipes/gpu/table.py "$OUT"/bench-*.json > "$OUT/bench.md"
cat "$OUT/bench.md"
if "$PYTHON" -c 'import pytest' 2> /dev/null; then
  say "device tests"
  "$PYTHON" -m pytest -q -m gpu tests/test_on_devices.py | tee "$OUT/device-tests.txt"
fi
say "done: bench"
