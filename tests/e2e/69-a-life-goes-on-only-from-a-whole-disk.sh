#!/usr/bin/env bash
# A disk refuses for long and works again just when its node stops: the life goes on only if the disk got all that was counted.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli

failing() {
    [ "$(metric "$1" store_failing)" -eq 1 ]
}
# No more than 256 batches wait for the disk beside 1 MiB of them in `recent`; one at a time, each key is a batch of its own or nearly so.
keys=6000
printf -v value '%01000d' 0
refuses_in[a]=$PWD/a.refuses
start_node a
before=$(life a)
: >a.refuses
expect "set" OK "$(resp a set kv:first x)"
wait_until failing a
for ((i = 0; i < keys; i++)); do
    echo "SET kv:key:$i $value"
done | redis-cli -p "${resp_port[a]}" >load.out || fail "$(tail -n 3 load.out)"
expect "keys before" "$keys" "$(grep -c '^OK' load.out)"
stop_node a
rm a.refuses
start_node a
held=$(resp a --raw keys 'kv:key:*' | grep -c '^kv:key:')
note "the disk has $held of $keys keys"
[ "$held" -lt "$keys" ] || fail "the disk had all"
[ "$before" != "$(life a)" ] || fail "the life went on from a disk that lacks $((keys - held)) keys"
