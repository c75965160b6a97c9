#!/usr/bin/env bash
# A change that cannot be read holds up its prefix alone; the error says where to look, and what is said there is true.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli curl

# Of "user:", as every node names what its changes are about.
intent=intent/01ARZ3NDEKTSV4RRFFQ69G5FAV.968670b8ceeeda06

start_node a
expect_status 0 ctl a prefix register user: lww other: lww
expect OK OK "$(resp a set user:1 one)"
expect OK OK "$(resp a set other:1 x)"
stop_node a
echo garbage >"a/data/$intent"

start_node a
expect_like "the error" 'tallyctl prefix list' "$(resp a get user:1 2>&1)"
expect_like "the error of a write" 'tallyctl prefix list' "$(resp a set user:1 two 2>&1)"
expect "by HTTP" 503 "$(http_status a /v1/counters/user:1)"
expect "another prefix" x "$(resp a get other:1)"
expect OK OK "$(resp a set other:1 y)"
expect OK OK "$(resp a set kv:1 z)"
expect_like "the log" "$intent.*cannot be read" "$(cat a/log)"
expect_status 0 ctl a prefix list
expect_like "where to look" "$intent: " "$output"
expect_like "what to do" 'move it' "$output"
expect_status 1 ctl a prefix register user: epoch_sum
expect "it is kept" garbage "$(cat "a/data/$intent")"
stop_node a
expect_status 0 "$tallyctl" export --store a/data
expect_status 0 "$tallyctl" store check a/data

# What it says to do, done.
mv "a/data/$intent" .
start_node a
expect "the key" one "$(resp a get user:1)"
expect "another" y "$(resp a get other:1)"
expect_unlike "the table" 'refused' "$(ctl a prefix list)"
expect OK OK "$(resp a set user:1 two)"
