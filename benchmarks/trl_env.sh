#!/usr/bin/env bash
# The environment that TRL is measured in, apart from ours: trainers pin what they like. Prints its Python.
#   benchmarks/trl_env.sh [FOLDER]        default: ~/.cache/keyturn/trl; TORCH_INDEX as for make install
set -euo pipefail
here="$(cd "$(dirname "$0")/.." && pwd)"
folder="${1:-${XDG_CACHE_HOME:-$HOME/.cache}/keyturn/trl}"
if [ ! -e "$folder/installed" ]; then
  "${PYTHON:-python3}" -m venv "$folder"
  # Same torch and transformers on both sides; what keyturn.policies imports, and keyturn itself without the rest.
  grep -E '^(torch|transformers|tokenizers|numpy|pyarrow|safetensors|jaxtyping|accelerate)==' \
    "$here/constraints.txt" >"$folder/pins.txt"
  if [ -n "${TORCH_INDEX:-}" ]; then
    "$folder/bin/python" -m pip install -q --index-url "$TORCH_INDEX" torch 1>&2
    sed -i.bak '/^torch==/d' "$folder/pins.txt"
  fi
  "$folder/bin/python" -m pip install -q -r "$folder/pins.txt" trl rich 1>&2
  "$folder/bin/python" -m pip install -q --no-deps -e "$here" 1>&2
  touch "$folder/installed"
fi
echo "$folder/bin/python"
