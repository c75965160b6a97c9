#!/usr/bin/env bash
# An idle connection costs at most 4 KiB of the node's memory, at either door. TALLY_IDLE connections; make check-idle: 10,000.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need python3
count=${TALLY_IDLE:-1000}
[ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -ge $((count + 100)) ] || skip "$count connections are more descriptors than are allowed here: ulimit -n"
# What a sanitizer keeps beside a block is not what the node holds: there it is only seen that all are answered.
bytes_max=4096
[ -z "$TALLY_SLOW" ] || bytes_max=0
start_node a
python idle.py "${pid[a]}" resp "${resp_port[a]}" "$count" "$bytes_max"
start_node b
python idle.py "${pid[b]}" http "${http_port[b]}" "$count" "$bytes_max"
