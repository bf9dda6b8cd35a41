#!/bin/sh
# Every check that needs no server.
set -eu
cd "$(dirname "$0")/.."
ruff check --quiet
ruff format --quiet --check
lint-imports --no-cache --no-logo
scripts/check_proto.sh
