#!/usr/bin/env bash
# Everything that is asked of one GPU, in at most nine minutes: see benchmarks/gpu.py.
#
#     benchmarks/gpu.sh                                   # the interpreter of `make setup` with the CUDA lock
#     PYTHON=python3 benchmarks/gpu.sh --output gpu.json  # another one
#     benchmarks/gpu.sh --rehearse                        # the same code at tiny size on a CPU, for CI
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
if ! command -v "$python" >/dev/null; then
    echo "error: no interpreter $python; run make setup, or name one that has torch: PYTHON=python3 $0" >&2
    exit 2
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1
exec "$python" benchmarks/gpu.py "$@"
