#!/usr/bin/env bash
# Put what was uploaded where it stays: bash recipes/gpu/stage.sh build/gpu/part-0 [build/gpu/part-1 …]
# A folder with models.tar.00 … in it, brought home by an earlier call, gives a fresh machine its models back.
. "$(dirname "$0")/common.sh"

for part in "$@"; do
  name=$(basename "$part")
  if [ -d "$part/wheels" ]; then
    say "installing $(ls "$part/wheels" | wc -l) wheels"
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile \
      --upgrade --target "$WORK/site" "$part"/wheels/*.whl
  fi
  if [ -f "$part/models.tar.00" ]; then
    cat "$part"/models.tar.* | tar -C "$WORK/models" -xf -
    say "models: $(ls "$WORK/models" | tr '\n' ' ')"
  fi
  if [ -f "$part/manifest.jsonl" ]; then
    mkdir -p "$WORK/parts/$name"
    cp "$part/manifest.jsonl" "$part/clips.tar" "$WORK/parts/$name/"
    say "$name: $(wc -l < "$part/manifest.jsonl") clips; in all $(cat "$WORK"/parts/*/manifest.jsonl | wc -l)"
  fi
done
