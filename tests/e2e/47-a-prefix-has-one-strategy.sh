#!/usr/bin/env bash
# Prefixes are registered and dropped on nodes that run: it outlasts a kill, the others follow, and what was dropped comes back from nobody.
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

start_cluster a b c

# --- registered on one, known to all, before and after a kill ---
expect_status 0 ctl a prefix register user: lww seen: epoch_max
knows a user: lww || fail "it is not registered"
expect OK OK "$(resp a set user:1 one)"
for node in b c; do
    wait_until knows "$node" user: lww
    wait_until reads "$node" user:1 one
done
kill_node a
start_node a -o join="$(addresses b)"
knows a user: lww || fail "it is not registered any more"
wait_until reads a user:1 one
wait_until sees a 2

# --- what is refused ---
expect_status 1 ctl a prefix register user: epoch_sum
expect_like "why" 'registered with another strategy' "$(ctl a prefix register user: epoch_sum 2>&1 || true)"
expect_status 1 ctl a prefix register other: no_such
expect_status 1 ctl a prefix drop kv: --approve 0000000000000001
expect_status 1 ctl a prefix drop user: --approve 0000000000000001
expect_status 2 ctl a prefix register user:
expect_status 2 ctl a prefix turn
expect "an unknown prefix" 404 "$(http_status a /v1/prefixes/none:)"
expect "a change without a prefix" 400 "$(http_status a /v1/prefixes -d '{"op":"drop"}')"
expect "none of two, if one cannot be" 409 "$(http_status a /v1/prefixes \
    -d '[{"op":"register","prefix":"new:","strategy":"lww"},{"op":"register","prefix":"user:","strategy":"epoch_sum"}]')"
expect_unlike "the table" 'new:' "$(ctl a prefix list)"

# --- dropped: approved on each node that holds it, and it comes back from nobody ---
expect_status 1 ctl a prefix drop user:
expect_like "what would be lost" '1 keys would be lost' "$output"
approval=$(grep -oE '[0-9a-f]{16}$' <<<"$output")
expect OK OK "$(resp a set user:1 two)"
expect_status 1 ctl a prefix drop user: --approve "$approval"
for node in b c; do wait_until reads "$node" user:1 two; done
approval=$(ctl a prefix drop user: | grep -oE '[0-9a-f]{16}$') || true
expect_status 0 ctl a prefix drop user: --approve "$approval"
knows a user: dropped || fail "it is not dropped"
expect "the key" "" "$(resp a get user:1)"
wait_until sees a 0
expect_status 0 ctl b prefix drop user: --approve "$approval"
expect_status 0 ctl c prefix drop user: --approve "$approval"
for node in a b c; do wait_until sees "$node" 2; done
kill_node a
start_node a -o join="$(addresses b)"
wait_until sees a 2
for node in a b c; do expect "the key on $node" "" "$(resp "$node" get user:1)"; done
wait_equal a b c

# --- each change has its row, and no intent is left ---
for node in a b c; do
    expect "rows of $node" 2 "$(grep -c '"outcome":"done"' "$node/data/audit.log")"
    expect "intents of $node" "" "$(ls "$node/data/intent" 2>/dev/null)"
done
expect_like "who did it" '"actor":"http 127.0.0.1:[0-9]+"' "$(cat a/data/audit.log)"
expect_like "who did it" '"actor":"peer a"' "$(cat b/data/audit.log)"

# --- a node that is stopped: its tools see what it sees ---
expect OK OK "$(resp a set kv:1 x)"
stop_node a
expect_unlike "the export" 'user:1' "$("$tallyctl" export --store a/data | strings)"
expect_status 0 "$tallyctl" store check a/data
expect_status 0 "$tallyctl" store compact a/data
start_node a -o join="$(addresses b)"
knows a user: dropped || fail "it is not dropped"
expect "a key" x "$(resp a get kv:1)"
