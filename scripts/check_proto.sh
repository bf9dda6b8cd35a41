#!/bin/sh
# The contract: lint, format, stubs as generated, and no breaking change against main.
set -eu
cd "$(dirname "$0")/.."
buf lint
buf format --diff --exit-code
generated=$(mktemp -d)
trap 'rm -rf "$generated"' EXIT
python scripts/generate_stubs.py "$generated"
for package in mlx_hub buf; do
  (cd "$generated" && find "$package" -type f) | while read -r file; do
    cmp -s "$generated/$file" "client/$file" || { echo "client/$file is stale: run make proto"; exit 1; }
  done
done
git ls-files 'client/*_pb2*' | sed 's#^client/##' | while read -r file; do
  [ -e "$generated/$file" ] || { echo "client/$file has no proto any more"; exit 1; }
done
python scripts/generate_api.py "$generated/api.md"
cmp -s "$generated/api.md" docs/api.md || { echo "docs/api.md is stale: run make proto"; exit 1; }
python -m scripts.generate_errors "$generated/errors.md"
cmp -s "$generated/errors.md" docs/errors.md || { echo "docs/errors.md is stale: run make proto"; exit 1; }
python -m scripts.generate_openapi "$generated/openapi.json"
cmp -s "$generated/openapi.json" gateway/openapi.json ||
  { echo "gateway/openapi.json is stale: run make proto"; exit 1; }
for ref in origin/main main; do
  if git cat-file -e "$ref:buf.yaml" 2>/dev/null; then
    buf breaking --against ".git#ref=$(git rev-parse "$ref")"
    break
  fi
done
