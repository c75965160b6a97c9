#!/usr/bin/env bash
# Under load the log is replaced by snapshots; killed at any time, the node comes back with all it acknowledged.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli redis-benchmark

snapshots() {
    [ "$(metric a store_snapshots_total)" -ge "$1" ]
}

# Of all snapshots one stays.
has_one_snapshot() {
    [ "$(find a/data -name 'snap-*.tly' | wc -l)" -eq 1 ]
}

# Written by 60,000 SETs of 100 bytes.
is_small() {
    [ "$(metric a store_bytes)" -le 2000000 ]
}

settings=(-o compact_min=64k -o fsync=interval)
start_node a "${settings[@]}"

# --- killed under load, three times, each after a snapshot more ---

for i in 1 2 3; do
    base=$(metric a store_snapshots_total)
    count_on --seconds 500 --prefix "k$i:" "${resp_port[a]}:${http_port[a]}"
    wait_until snapshots $((base + 3))
    kill_node a
    start_node a "${settings[@]}"
    wait_until snapshots 1
    counted_enough
    wait_until has_one_snapshot
done

# --- hot keys: the log is many times the state, and stays small ---

redis-benchmark -p "${resp_port[a]}" -n 60000 -r 10 -P 16 -q -d 100 set kv:hot:__rand_int__ \
    "$(printf '%0100d' 0)" >benchmark.out
expect "set" OK "$(resp a set kv:hot:last "it is the last")"
wait_until is_small
note "the log has $(metric a store_bytes) bytes, the snapshot $(metric a store_snapshot_bytes)"
turn=$(metric a store_turn_max_seconds)
note "the longest turn of the loop for a snapshot took $turn s"
ctl a export -o before
stop_node a
start_node a "${settings[@]}"
ctl a export -o after
expect_status 0 "$tallyctl" diff before after
expect_status 0 "$tallyctl" diff after before
expect "the value" "it is the last" "$(resp a get kv:hot:last)"
