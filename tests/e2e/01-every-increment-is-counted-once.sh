#!/usr/bin/env bash
# Within one second of the last of 100,000 increments over three nodes, all read the exact sum. (alone)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-benchmark

start_cluster a b c
python count.py --benchmark 60000 --increments 40000 --within "$within_s" \
    "${resp_port[a]}:${http_port[a]}" "${resp_port[b]}:${http_port[b]}" "${resp_port[c]}:${http_port[c]}"
