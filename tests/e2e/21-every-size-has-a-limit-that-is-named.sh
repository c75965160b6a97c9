#!/usr/bin/env bash
# Keys of 512 bytes and values of 64 KiB go in by every door, one byte more is refused by name; raw epoch_max values have 16 bytes.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli

start_node a
python edges.py "${resp_port[a]}" "${http_port[a]}"
held() {
    resp a dbsize
    resp a get kv:v | md5sum
    resp a mget em:RESP0 em:HTTP0 em:RESP3
}
before=$(held)
stop_node a
start_node a
expect "what is at the limits survives a restart" "$before" "$(held)"
