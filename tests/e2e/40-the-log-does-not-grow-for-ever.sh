#!/usr/bin/env bash
# Under load the log is replaced by snapshots; killed at any time, the node comes back with all it acknowledged.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli redis-benchmark

snapshots() {
    [ "$(metric a store_snapshots_total)" -ge "$1" ]
}

files() {
    find a/data -name "$1" | wc -l
}

settings=(-o compact_min=64k -o fsync=interval)
start_node a "${settings[@]}"

# --- killed under load, three times, each after a snapshot more ---

for i in 1 2 3; do
    base=$(metric a store_snapshots_total)
    python count.py --increments 60000 --seconds 3 --breaks 1 --prefix "k$i:" \
        "${resp_port[a]}:${http_port[a]}" >count.out 2>&1 &
    counter=$!
    helpers+=("$counter")
    wait_until snapshots $((base + 3))
    kill_node a
    expect "the client goes on when a is killed" yes "$(is_gone "$counter" || echo yes)"
    start_node a "${settings[@]}"
    result=0
    wait "$counter" || result=$?
    cat count.out
    expect "status of the client" 0 "$result"
    wait_until snapshots 1
    expect "snapshots on the disk" 1 "$(files 'snap-*.tly')"
done

# --- hot keys: the log is many times the state, and stays small ---

redis-benchmark -p "${resp_port[a]}" -n 60000 -r 10 -P 16 -q -d 100 set kv:hot:__rand_int__ \
    "$(printf '%0100d' 0)" >benchmark.out
expect "set" OK "$(resp a set kv:hot:last "it is the last")"
log_bytes=$(metric a store_bytes)
expect_between "bytes of the log" 0 2000000 "$log_bytes"
note "the log has $log_bytes bytes, the snapshot $(metric a store_snapshot_bytes)"
turn=$(metric a store_turn_max_ns)
note "the longest turn of the loop for a snapshot took $turn ns"
ctl a export -o before
stop_node a
start_node a "${settings[@]}"
ctl a export -o after
expect_status 0 "$tallyctl" diff before after
expect_status 0 "$tallyctl" diff after before
expect "the value" "it is the last" "$(resp a get kv:hot:last)"
