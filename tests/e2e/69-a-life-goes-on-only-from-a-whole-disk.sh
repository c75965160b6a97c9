#!/usr/bin/env bash
# A disk refuses for long and works again just when its node is told to stop: the life goes on only if the disk got all that was counted.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli

refuses_in[a]=$PWD/refuses
start_node a
before=$(life a)
: >refuses
# Each is a batch of its own, and no more than 256 wait for the disk.
for i in {1..600}; do
    echo "SET kv:$i x"
    sleep 0.003
done | redis-cli -p "${resp_port[a]}" >load.out || fail "$(tail -n 3 load.out)"
expect "keys before" 600 "$(grep -c '^OK' load.out)"
failing() {
    [ "$(metric a store_failing)" -eq 1 ]
}
wait_until failing
rm refuses
stop_node a
start_node a
after=$(life a)
held=$(resp a --raw keys 'kv:*' | grep -c '^kv:')
note "the disk has $held of 600 keys, the life $([ "$before" = "$after" ] && echo goes on || echo is new)"
[ "$held" -eq 600 ] || [ "$before" != "$after" ] || fail "the life went on from a disk that lacks $((600 - held)) keys"
