#!/usr/bin/env bash
# Sets up .venv with the project (editable) and what its tests need; quick when that is done already.
# WSSS_TORCH: a requirement of torch in place of the newest, e.g. WSSS_TORCH="torch==2.11.*"
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
if [ ! -x .venv/bin/python ]; then
  "$python" -m venv .venv
fi
stamp=.venv/installed
torch="${WSSS_TORCH:-}"
if [ ! -f "$stamp" ] || [ pyproject.toml -nt "$stamp" ] || [ "$(cat "$stamp")" != "$torch" ]; then
  .venv/bin/python -m pip install --quiet --upgrade pip
  if [ -z "$torch" ] && [ -s "$stamp" ]; then
    .venv/bin/python -m pip install --quiet --upgrade torch torchvision  # an older one was asked for before
  fi
  .venv/bin/python -m pip install --quiet ${torch:+"$torch"} -e '.[test,saliency]'
  printf '%s' "$torch" >"$stamp"
fi
