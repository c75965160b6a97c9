#!/usr/bin/env bash
# One of three counting nodes is killed and started again from its data; what was acknowledged is there, once.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

counted() {
    [ "$(metric "$1" resp_commands_total)" -ge "$2" ]
}

start_cluster a b c
first_life=$(http c /v1/cluster | json origin)
python count.py --increments 100000 --seconds 4 --breaks 1 --within "$within_s" \
    "${resp_port[a]}:${http_port[a]}" "${resp_port[b]}:${http_port[b]}" "${resp_port[c]}:${http_port[c]}" >count.out 2>&1 &
counter=$!
helpers+=("$counter")

wait_until counted c 5000
kill_node c
expect "the counting goes on when c is killed" yes "$(is_gone "$counter" || echo yes)"
so_far=$(metric a resp_commands_total)
wait_until counted a $((so_far + 2000))
start_node c -o join="$(addresses a b)"

result=0
wait "$counter" || result=$?
cat count.out
expect "status of the client" 0 "$result"
second_life=$(http c /v1/cluster | json origin)
expect_unlike "the life of c after it was killed" "^$first_life\$" "$second_life"
for node in a b c; do wait_until sees "$node" 2; done
