#!/usr/bin/env bash
# Rate limiters of npm that use plain commands of redis limit over two nodes, without knowing it.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need node npm

install_clients || skip "npm ci failed: $(tail -n 1 npm.out)"
start_cluster a b
expect_status 0 timeout 120 node "$TALLY_E2E/limiters.mjs" "${resp_port[a]}" "${resp_port[b]}"
printf '%s\n' "$output"
