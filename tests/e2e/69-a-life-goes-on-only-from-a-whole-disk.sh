#!/usr/bin/env bash
# A disk refuses for long and works again just when its node is told to stop: the life goes on only if the disk got all that was counted.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli

keys=6000
failing() {
    [ "$(metric "$1" store_failing)" -eq 1 ]
}
# stop_late NAME: what its disk has afterwards is in $held.
stop_late() {
    refuses_in[$1]=$PWD/$1.refuses
    start_node "$1"
    before=$(life "$1")
    : >"$1.refuses"
    # One at a time, so that each is a batch of its own or nearly so; no more than 256 wait for the disk.
    for ((i = 0; i < keys; i++)); do
        echo "SET kv:$i x"
    done | redis-cli -p "${resp_port[$1]}" >load.out || fail "$(tail -n 3 load.out)"
    expect "keys before" "$keys" "$(grep -c '^OK' load.out)"
    wait_until failing "$1"
    rm "$1.refuses"
    stop_node "$1"
    start_node "$1"
    after=$(life "$1")
    held=$(resp "$1" --raw keys 'kv:*' | grep -c '^kv:')
    note "the disk has $held of $keys keys, the life $([ "$before" = "$after" ] && echo goes on || echo is new)"
}

# A node may try its disk again before it has stopped, and then all is there. Not each time.
for name in {a..h}; do
    stop_late "$name"
    [ "$held" -eq "$keys" ] || break
done
[ "$held" -lt "$keys" ] || fail "each time the disk had all"
[ "$before" != "$after" ] || fail "the life went on from a disk that lacks $((keys - held)) keys"
