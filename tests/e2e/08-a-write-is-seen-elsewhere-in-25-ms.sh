#!/usr/bin/env bash
# Of 1000 writes on one node, 99 of 100 can be read on another within 25 ms. (alone)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

start_cluster a b
bound_ms=25
[ -z "$TALLY_SLOW" ] || bound_ms=0
python visible.py "${resp_port[a]}" "${resp_port[b]}" 1000 "$bound_ms"
