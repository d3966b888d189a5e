#!/usr/bin/env bash
# Sets up .venv with the project (editable) and what its tests need (scripts/install.py); at once when that is done.
# WSSS_TORCH: a requirement of torch in place of the newest, e.g. WSSS_TORCH="torch==2.11.*"
# WSSS_UV: 1 installs with uv whatever pip's settings are, 0 with pip; by default uv where it would do the same
# PYTHON: the interpreter that .venv is made with, python3 by default
set -euo pipefail
cd "$(dirname "$0")/.."
stamp=.venv/installed
if [ -x .venv/bin/python ] && [ -f "$stamp" ] && [ ! pyproject.toml -nt "$stamp" ] &&
  [ "$(cat "$stamp")" = "${WSSS_TORCH:-}" ]; then
  exit 0
fi
python="${PYTHON:-python3}"
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "setup: $python is not Python 3.11 or newer; name one that is, e.g. PYTHON=python3.12 bash scripts/setup.sh" >&2
  exit 1
fi
exec "$python" scripts/install.py
