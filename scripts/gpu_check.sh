#!/usr/bin/env bash
# Checks on one GPU, in less than eight minutes and without a network (scripts/gpu_check.py says what, and its options).
# PYTHON: the interpreter; .venv's, else python3. WHEELS: a folder of wheels that this machine lacks, used from a
# temporary folder.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
command -v "$python" >/dev/null || python=python3
if [ -n "${WHEELS:-}" ]; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --target "$site" "$WHEELS"/*.whl
fi
PYTHONPATH=$PWD${site:+:$site} "$python" -m scripts.gpu_check "$@"
