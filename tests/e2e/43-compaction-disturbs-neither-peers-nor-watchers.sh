#!/usr/bin/env bash
# A node compacts under load, beside a peer and a watcher, and is killed in the middle of it, once while the peer is frozen: all are
# equal, and the watcher saw each key that was written once exactly once.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli redis-benchmark

snapshots() {
    [ "$(metric "$1" store_snapshots_total)" -ge "$2" ]
}

watched() {
    grep -q "kv:end.*$1" watched
}

is_watched() {
    [ "$(metric "$1" watchers)" -eq 1 ]
}

# counts_until N: one more load on b, and whether it brought its Nth snapshot: how many bytes a load makes is the node's own affair, since writes
# that wait for the log are conflated there.
counts_until() {
    redis-benchmark -p "${resp_port[b]}" -n 20000 -r 300 -P 16 -q incr ctr:__rand_int__ >benchmark.out 2>&1
    snapshots b "$1"
}

# once ROUND: keys that are written once, on the node that is watched.
once() {
    local n
    for n in {1..100}; do printf 'set kv:once:%s:%s x\n' "$1" "$n"; done | redis-cli -p "${resp_port[b]}" >once.out
    expect "sets" 100 "$(grep -c OK once.out)"
}

settings=(-o compact_min=64k -o fsync=interval)
start_node a "${settings[@]}"
start_node b "${settings[@]}" -o join="127.0.0.1:${peers_port[a]}"
wait_until sees a 1
"$tallyctl" -s "http://127.0.0.1:${http_port[b]}" watch kv: >watched &
helpers+=($!)
wait_until is_watched b

for i in 1 2 3; do
    base=$(metric b store_snapshots_total)
    redis-benchmark -p "${resp_port[a]}" -l -n 40000 -r 300 -P 16 -q -d 60 set kv:__rand_int__ "$i" >benchmark.out 2>&1 &
    load=$!
    helpers+=("$load")
    once "$i"
    [ "$i" -ne 2 ] || freeze_node b
    wait_until snapshots a 2
    kill_node a
    kill "$load" 2>/dev/null || true # one that was writing waits for ever
    wait "$load" 2>/dev/null || true
    start_node a "${settings[@]}" -o join="127.0.0.1:${peers_port[b]}"
    [ "$i" -ne 2 ] || thaw_node b
    wait_until counts_until $((base + 1))
    expect "del" 1 "$(resp b set kv:gone x >/dev/null; resp b del kv:gone)"
    expect "set" OK "$(resp a set kv:end "round $i")"
    wait_until watched "round $i"
    wait_equal a b
done
expect "how often each was seen, and how many" "1 300" \
    "$(grep -o 'kv:once:[0-9]*:[0-9]*' watched | sort | uniq -c | awk '{ print $1 }' | sort | uniq -c | awk '{ print $2, $1 }')"
kill_node b
start_node b "${settings[@]}" -o join="127.0.0.1:${peers_port[a]}"
wait_equal a b
expect "what was deleted" '' "$(resp b get kv:gone)"
