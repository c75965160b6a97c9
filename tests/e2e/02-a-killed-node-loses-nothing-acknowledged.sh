#!/usr/bin/env bash
# One of three counting nodes is killed and started again from its data; what was acknowledged is there, once.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

counted() {
    [ "$(metric "$1" resp_commands_total)" -ge "$2" ]
}

start_cluster a b c
first_life=$(http c /v1/cluster | json origin)
count_on --seconds 400 "${resp_port[a]}:${http_port[a]}" "${resp_port[b]}:${http_port[b]}" "${resp_port[c]}:${http_port[c]}"

wait_until counted c 5000
kill_node c
so_far=$(metric a resp_commands_total)
wait_until counted a $((so_far + 2000))
start_node c -o join="$(addresses a b)"
wait_until counted c 5000
counted_enough
second_life=$(http c /v1/cluster | json origin)
expect_unlike "the life of c after it was killed" "^$first_life\$" "$second_life"
for node in a b c; do wait_until sees "$node" 2; done
