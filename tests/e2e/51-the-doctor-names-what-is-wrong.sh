#!/usr/bin/env bash
# tallyctl doctor says nothing is wrong with a node that is well, and names each fault and what to do about it.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli redis-benchmark faketime

# says NAME REGEXP: the doctor calls that wrong.
says() {
    ! ctl "$1" doctor >said.txt 2>&1 && grep -qE "^wrong: $2" said.txt
}

# is_well NAME
is_well() {
    ctl "$1" doctor >said.txt 2>&1 && grep -qE "^nothing is wrong with $1\$" said.txt
}

# is_suspected PEER NAME: NAME has heard nothing of it, and nobody else has.
is_suspected() {
    ctl "$2" --json peers | grep -q "\"name\":\"$1\".*\"state\":\"suspect\",\"reachable\":false"
}

# --- nothing wrong, and how it is set up ---
start_node a
wait_until is_well a
expect_like "its notes" 'this node is alone' "$(cat said.txt)"
expect_like "its notes" 'memory has no ceiling' "$(cat said.txt)"
expect_status 0 ctl a doctor --json
expect "the first note's level" note "$(json 0.level <<<"$output")"
expect_status 3 "$tallyctl" -s 127.0.0.1:1 doctor
stop_node a
start_node a -o memory_max=16m -o on_full=refuse -o data=none
wait_until is_well a
expect_like "its notes" 'there is no store' "$(cat said.txt)"
expect_unlike "its notes" 'memory has no ceiling' "$(cat said.txt)"

# --- peers ---
start_node b -o join=127.0.0.1:1
wait_until says b 'nobody answers at the 1 addresses to join'
stop_node b
start_node b -o join="$(addresses a)"
wait_until sees a 1
wait_until is_well a
freeze_node b
wait_until is_suspected b a
says a 'b (at .* (is dead|cannot be reached)|has said nothing for)' || fail "a suspects b, and its doctor: $(cat said.txt)"
wait_until says a 'b (at .* (is dead|cannot be reached)|has said nothing for)'
thaw_node b
wait_until is_well a
kill_node b
wait_until says a 'b at .* (is dead|cannot be reached)'
expect_like "what to do" 'tallyctl forget|is it running' "$(cat said.txt)"
start_node c -o join="$(addresses a)" -o cluster=other
wait_until says a 'sessions with a peer are refused'
stop_node c

# --- memory ---
redis-benchmark -p "${resp_port[a]}" -n 100000000 -r 1000000000 -P 16 -q incr ctr:__rand_int__ >benchmark.out 2>&1 || true
expect_like "where the flood ends" 'memory' "$(cat benchmark.out)"
wait_until says a 'memory_max=16.0 MiB is full: in the last minute new keys were refused'

# --- what readyz says ---
library=$(faketime '2020-01-01 00:00:00' printenv LD_PRELOAD)
printf '#!/bin/sh\n%s exec "%s" "$@"\n' "LD_PRELOAD='$library' FAKETIME='@1970-01-01 12:00:00' DONT_FAKE_MONOTONIC=1 \
FAKETIME_DONT_FAKE_MONOTONIC=1 ASAN_OPTIONS='${ASAN_OPTIONS:-}:verify_asan_link_order=0'" "$tallyd" >tallyd-1970
chmod +x tallyd-1970
tallyd=$PWD/tallyd-1970 start_node d
wait_until says d "not ready: the machine's clock is before this release"
