#!/bin/sh
# Makes .venv from a lock file, with uv in a private folder: needs python3 >= 3.11 with venv
# and nothing else. Usage: scripts/bootstrap.sh run|dev|mlflow
set -eu
cd "$(dirname "$0")/.."
uv=.cache/uv/bin/uv
# Each child process imports much: from source it would take twice as long to start.
export UV_COMPILE_BYTECODE=1

get_uv() {
  [ -x $uv ] && return
  echo "Setting up uv in .cache/uv"
  python3 -m venv .cache/uv
  .cache/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
    --only-binary :all: --requirement requirements-uv.lock
}

# MLflow's whole server, with its UI, in an environment of its own: 700 MB that the hub needs not.
if [ "$1" = mlflow ]; then
  cmp -s requirements-mlflow.lock .cache/mlflow/.stamp && exit 0
  get_uv
  echo "Installing requirements-mlflow.lock"
  [ -x .cache/mlflow/bin/python ] || $uv venv --quiet .cache/mlflow
  $uv pip sync --quiet --python .cache/mlflow --require-hashes requirements-mlflow.lock
  cp requirements-mlflow.lock .cache/mlflow/.stamp
  exit 0
fi
[ "$1" = dev ] && "$0" mlflow
lock=requirements.lock
[ "$1" = dev ] && lock=requirements-dev.lock
stamp=.venv/.stamp-$1
if [ -x .venv/bin/python ] && [ -f "$stamp" ] &&
  cat "$lock" requirements-starter.lock pyproject.toml client/pyproject.toml | cmp -s - "$stamp"; then
  exit 0
fi
get_uv
echo "Installing $lock"
[ -x .venv/bin/python ] || $uv venv --quiet .venv
# A run environment never removes what development needs.
synced=$lock
if [ "$1" = run ] && [ -f .venv/.stamp-dev ]; then synced=requirements-dev.lock; fi
$uv pip sync --quiet --require-hashes "$synced"
$uv pip install --quiet --no-deps --require-hashes --requirement requirements-starter.lock
$uv pip install --quiet --no-deps --no-build-isolation --editable . --editable client
for name in run "$1"; do  # what development needs has all that running needs
  lock=requirements.lock
  [ $name = dev ] && lock=requirements-dev.lock
  cat "$lock" requirements-starter.lock pyproject.toml client/pyproject.toml > .venv/.stamp-$name
done
