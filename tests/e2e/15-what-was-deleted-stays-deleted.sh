#!/usr/bin/env bash
# A key that is deleted while a node that holds it is frozen, or dead, is gone everywhere when that node is back.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli

# everywhere VALUE KEY: all nodes read it so.
everywhere() {
    local node
    for node in a b c; do expect "$2 on $node" "$1" "$(resp "$node" get "$2")"; done
}

start_cluster a b c
for node in a b c; do
    resp "$node" incr frozen >count.out
    resp "$node" incr dead >count.out
    resp "$node" incr again >count.out
done
expect "set" OK "$(resp b set kv:dead text)"
wait_equal a b c
for key in frozen dead again; do everywhere 3 "$key"; done
everywhere text kv:dead

freeze_node b
expect "delete" 1 "$(resp a del frozen)"
wait_equal a c
expect "on c" '' "$(resp c get frozen)"
thaw_node b
wait_equal a b c
everywhere '' frozen

kill_node b
expect "delete" 3 "$(resp a del dead kv:dead again)"
wait_equal a c
expect "incr after the delete" 1 "$(resp c incr again)"
# In a cluster of its own it shows that it still has what was deleted. Then it meets the others.
start_node b -o cluster=alone
expect "what b has on its disk" 3 "$(resp b get dead)"
expect "text" text "$(resp b get kv:dead)"
stop_node b
start_node b -o join="$(addresses a c)"
wait_until sees b 2
wait_equal a b c
everywhere '' dead
everywhere '' kv:dead
everywhere 1 again

# And so it is after all of them were stopped.
for node in a b c; do stop_node "$node"; done
start_node a
for node in b c; do start_node "$node" -o join="$(addresses a)"; done
for node in a b c; do wait_until sees "$node" 2; done
wait_equal a b c
everywhere '' frozen
everywhere '' dead
everywhere 1 again
