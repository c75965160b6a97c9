#!/usr/bin/env bash
# A prefix gets another strategy on nodes that run: what its keys say goes over and outlasts a kill, and nobody merges the two.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli curl

# knows NAME PREFIX STRATEGY: as its table says.
knows() {
    ctl "$1" prefix list | grep -qE "^$2 +$3 "
}

# reads NAME KEY VALUE
reads() {
    [ "$(resp "$1" get "$2")" = "$3" ]
}

# approval NAME PREFIX STRATEGY
approval() {
    ctl "$1" prefix migrate "$2" "$3" | grep -oE '[0-9a-f]{16}$'
}

start_cluster a b c

expect_status 0 ctl a prefix register hits: lww
expect OK OK "$(resp a set hits:1 41)"
expect OK OK "$(resp a set hits:w word)"
expect OK OK "$(resp a set kv:1 41)"
for node in b c; do
    wait_until reads "$node" hits:1 41
    wait_until reads "$node" hits:w word
    wait_until reads "$node" kv:1 41
done

# --- what is refused ---
expect_status 1 ctl a prefix migrate hits: epoch_sum
expect_like "what would be lost" 'of 2 keys 1 would be lost' "$output"
expect_status 1 ctl a prefix migrate hits: no_such
expect_status 1 ctl a prefix migrate kv: epoch_sum --approve 0000000000000001
expect_status 1 ctl a prefix migrate hits: epoch_sum --approve 0000000000000001
expect_status 2 ctl a prefix migrate hits:
expect_status 2 ctl a prefix register hits: lww --approve 0000000000000001
expect "without an approval" 409 "$(http_status a /v1/prefixes \
    -d '{"op":"migrate","prefix":"hits:","strategy":"epoch_sum"}')"
expect "without a strategy" 400 "$(http_status a /v1/prefixes -d '{"op":"migrate","prefix":"hits:"}')"
expect "of two, one of which begins with the other" 409 "$(http_status a /v1/prefixes \
    -d '[{"op":"register","prefix":"hits:x:","strategy":"lww"},{"op":"drop","prefix":"hits:","approval":"0000000000000001"}]')"
wait_until sees a 2

# --- on one node: it outlasts a kill, and the others are not spoken with ---
approved=$(approval a hits: epoch_sum) || true
expect "on each node that holds the same" "$approved" "$(approval b hits: epoch_sum || true)"
expect_status 0 ctl a prefix migrate hits: epoch_sum --approve "$approved"
expect 42 42 "$(resp a incr hits:1)"
expect "what is no number" "" "$(resp a get hits:w)"
wait_until sees a 0
kill_node a
start_node a -o join="$(addresses b)"
knows a hits: epoch_sum || fail "it is as it was before"
expect "the key" 42 "$(resp a get hits:1)"
expect "another's" 41 "$(resp a get kv:1)"
expect "the key on b" 41 "$(resp b get hits:1)"
expect OK OK "$(resp b set kv:2 x)"

# --- on the others too: all are one again ---
for node in b c; do expect_status 0 ctl "$node" prefix migrate hits: epoch_sum --approve "$approved"; done
for node in a b c; do
    wait_until sees "$node" 2
    wait_until reads "$node" hits:1 42
    wait_until reads "$node" kv:2 x
    expect "what is no number" "" "$(resp "$node" get hits:w)"
done
expect 43 43 "$(resp c incr hits:1)"
for node in a b; do wait_until reads "$node" hits:1 43; done
wait_equal a b c

# --- each change has its row, and no intent is left ---
for node in a b c; do
    expect "rows of $node" 2 "$(grep -c '"outcome":"done"' "$node/data/audit.log")"
    expect "migrations of $node" 1 "$(grep -c '"kind":"migrate"' "$node/data/audit.log")"
    expect "intents of $node" "" "$(ls "$node/data/intent" 2>/dev/null)"
done

# --- a node that is stopped, and one that is new ---
stop_node a
expect_status 0 "$tallyctl" store check a/data
expect_status 0 "$tallyctl" store compact a/data
start_node a -o join="$(addresses b)"
expect "the key" 43 "$(resp a get hits:1)"
start_node d -o join="$(addresses b)"
wait_until reads d hits:1 43
