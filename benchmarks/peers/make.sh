#!/usr/bin/env bash
# A second environment with the last transformers that has the question-answering pipeline.
set -euo pipefail
cd "$(dirname "$0")"
python3 -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
touch .venv/installed
