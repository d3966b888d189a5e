#!/usr/bin/env bash
# Sets up if need be, then lint, format, types, the documentation, the test suite and, alone and last, the tests of speed
# (scripts/verify.py).
# --slow: the slow tests alone; --parts lint,types: these parts alone; everything else goes on to pytest
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
exec .venv/bin/python scripts/verify.py "$@"
