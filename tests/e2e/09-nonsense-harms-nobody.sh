#!/usr/bin/env bash
# Garbage, halves, giants and the wrong tongue on every port end in an error or a closed connection; others are served.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

start_cluster a b
lines_before=$(wc -l <a/log)
python hostile.py "${pid[a]}" "${resp_port[a]}" "${http_port[a]}" "${peers_port[a]}" "${TALLY_SLOW:-0}" \
    "$TALLY_E2E"/../wire/golden/*.hex "$TALLY_E2E"/../fuzz/corpus/frame/*

sees a 1 || fail 'the honest peer was lost'
expect "what the honest client counted, on the other node" "$(resp a get honest)" \
    "$(wait_equal a b && resp b get honest)"
expect "what was not counted" 0 "$(resp a exists hostile)"
lines=$(($(wc -l <a/log) - lines_before))
note "$lines lines in the log"
expect_between "lines in the log" 0 200 "$lines"
