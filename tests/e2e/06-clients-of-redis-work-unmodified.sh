#!/usr/bin/env bash
# ioredis and node-redis connect and count, with pipelines and limits, by RESP2 and RESP3.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need node npm

install_clients || skip "npm ci failed: $(tail -n 1 npm.out)"
start_node a
expect_status 0 timeout 50 node "$TALLY_E2E/clients.mjs" "${resp_port[a]}"
printf '%s\n' "$output"
expect_between "commands that the node counted" 1050 1300 "$(metric a resp_commands_total)"
