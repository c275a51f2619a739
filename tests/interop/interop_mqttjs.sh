#!/bin/sh
# MQTT.js against the broker: installs the client into a directory of its own and runs interop_mqttjs.js with it.
# SPDX-License-Identifier: GPL-2.0-or-later
version=5.16.0
srcdir=${srcdir:-$(dirname "$0")/../..}
skip() {
    echo "1..0 # SKIP $*"
    exit 77
}

for tool in node npm; do
    command -v "$tool" >/dev/null || skip "no $tool here to run MQTT.js $version with"
done
[ "$(node -p 'process.versions.node.split(".")[0] >= 16')" = true ] || skip "MQTT.js needs node 16 or newer"
work=$(mktemp -d "${TMPDIR:-/tmp}/caddis-interop-XXXXXX") || exit 99
trap 'rm -rf "$work"' EXIT
trap 'exit 99' INT TERM
timeout 120 npm install --prefix "$work" --no-save --ignore-scripts --no-audit --no-fund "mqtt@$version" \
    >"$work/npm.out" 2>&1 </dev/null || {
    sed 's/^/# /' "$work/npm.out"
    skip "npm can't fetch MQTT.js $version; is there a network?"
}
NODE_PATH=$work/node_modules CADDIS=${CADDIS:-./caddis} node "$srcdir/tests/interop/interop_mqttjs.js"
