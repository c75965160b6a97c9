#!/usr/bin/env bash
# A node whose machine says 1970 names its clock while it is alone, and counts with the others by theirs.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli faketime

# The daemon with that clock, without faketime as a process in between: it must be our child. Its monotonic clock stays.
library=$(faketime '2020-01-01 00:00:00' printenv LD_PRELOAD)
printf '#!/bin/sh\n%s exec "%s" "$@"\n' "LD_PRELOAD='$library' FAKETIME='@1970-01-01 12:00:00' DONT_FAKE_MONOTONIC=1 \
FAKETIME_DONT_FAKE_MONOTONIC=1 ASAN_OPTIONS='${ASAN_OPTIONS:-}:verify_asan_link_order=0'" "$tallyd" >tallyd-1970
chmod +x tallyd-1970

# start_in_1970 NAME [OPTION OF TALLYD]...
start_in_1970() {
    local tallyd=$PWD/tallyd-1970
    start_node "$@"
}

readyz() {
    http "$1" /readyz
}

is_ready() {
    [ "$(http_status "$1" /readyz)" = 200 ]
}

start_node a
expect "incr" 5 "$(resp a incrby k 5)"

start_in_1970 b
expect "readyz alone" 503 "$(http_status b /readyz)"
expect_like "which says" 'clock: .*before this release: set it' "$(readyz b)"
expect_status 1 ctl b doctor
expect_like "the doctor" 'wrong: .*clock' "$output"
expect_status 0 ctl b status
expect_like "the status" 'clock +wrong' "$output"
expect_like "and why" $'\nnot ready: .*before this release: set it' "$output"
expect "it serves all the same" 1 "$(resp b incr early)"
stop_node b

start_in_1970 b -o join="$(addresses a)"
wait_until sees b 1
wait_equal a b
expect "what a counted" 5 "$(resp b get k)"
expect "what b counted in 1970" 1 "$(resp a get early)"
expect "incr" 6 "$(resp b incr k)"
wait_equal a b
expect "on a" 6 "$(resp a get k)"
wait_until is_ready b
expect_status 0 ctl b status
expect_like "the status" 'clock +good' "$output"
expect_unlike "which has nothing to add" 'not ready' "$output"
expect_logged b "this machine's clock is wrong: the members' is used; set it"
stop_node b

start_node b -o join="$(addresses a)"
wait_until sees b 1
expect "the clock is right" 7 "$(resp b incr k)"
wait_equal a b
expect "on a" 7 "$(resp a get k)"

# Before it was asked anything a node takes the median's time at once; a deadline that it sets is where it should be for the others.
wall_back_ms[c]=100000
start_node c -o join="$(addresses a b)"
is_stepped() { awk -v skew="$(metric c time_skew_seconds)" 'BEGIN { exit !(skew < 1 && skew > -1) }'; }
wait_until sees c 2
wait_until is_stepped
expect "set" OK "$(resp c set kv:short x ex 60)"
wait_equal a b c
for name in a b c; do expect_between "ttl on $name" 55 60 "$(resp "$name" ttl kv:short)"; done
