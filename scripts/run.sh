#!/usr/bin/env bash
# Sets up if need be, then `python -m benchmark "$@"`.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
exec .venv/bin/python -m benchmark "$@"
