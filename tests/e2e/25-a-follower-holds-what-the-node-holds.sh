#!/usr/bin/env bash
# tallyctl follow: a directory that comes to hold what the node holds, whatever happens to either of them.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

# follow_on OPTION...: d follows on; it is in $follower.
follower=
follow_on() {
    "$tallyctl" -s "http://127.0.0.1:${http_port[a]}" follow d "$@" >follow.out 2>&1 &
    follower=$!
    helpers+=("$follower")
}

ends_in_dots() {
    tail -n 1 follow.out | grep -q '^[0-9]* dots$'
}

# once DIRECTORY WORD...: one tick; its line is in $line.
line=
once() {
    local directory=$1
    shift
    expect_status 0 ctl a follow "$directory" "$@" --once --digest --json
    line=$output
}

# expect_dots DIRECTORY PREFIX COUNT: so many dots of keys that begin so are there.
expect_dots() {
    expect_status 0 "$tallyctl" export "$2" --store "$1" -o dots
    expect "dots of $2 in $1" "$3" "${output%% *}"
}

# expect_verdict WHAT VERDICT [DIRECTORY]: of the last tick. What the node says after it (to forget a delete, it says something)
# comes with the next.
expect_verdict() {
    expect "verdict of $1" "$2" "$(json verdict <<<"$line")"
    wait_until holds_the_same "${3:-d}"
}

holds_the_same() {
    [ "$(digest a)" != "$(json digest <<<"$line")" ] || return 0
    once "$1"
    return 1
}

# expect_cold WHAT REASON [DIRECTORY]
expect_cold() {
    expect "reason of $1" "$2" "$(json reason <<<"$line")"
    expect_verdict "$1" cold_start "${3:-d}"
}

# --- the value, a tick later ---
start_node a -o fsync=interval
for i in {1..30}; do
    ctl a incr ctr:moves "$i" >/dev/null
    ctl a incr "ctr:$i" >/dev/null
    once d
    expect_verdict "tick $i" ops
done
expect_status 0 "$tallyctl" explain ctr:moves --store d
expect_like "the value is there" 'count 465' "$output"
once d
expect_verdict "an idle tick" up_to_date
http a /v1/counters/kv:text -d '{"value":"text"}' >/dev/null
http a /v1/counters/ctr:3 -X DELETE
once d
expect_verdict "a register and a delete" ops

# --- killed a hundred times ---
for i in {1..100}; do
    follow_on --interval 1
    resp a incr ctr:kills >/dev/null
    resp a incr "ctr:key:$i" >/dev/null
    # Whether it had begun, was between its batch and its cursor, or was done, is chance.
    ((i % 4 != 0)) || wait_until grep -q . follow.out
    kill -KILL "$follower"
    wait "$follower" 2>/dev/null || true
done
once d
wait_until holds_the_same d
expect "no ground was lost" 0 "$(metric a feed_cold_ahead_total)"
ctl a export -o node 2>said
"$tallyctl" export --store d -o copy 2>said
expect_status 0 "$tallyctl" diff node copy
expect_status 0 "$tallyctl" diff copy node
ctl a get ctr:kills >value
expect "counts" 100 "$(cat value)"

# --- the node restarts: clean, with its tail lost, from a backup, with nothing ---
ctl a backup kept >/dev/null 2>&1
stop_node a
start_node a
resp a incr ctr:moves >/dev/null
once d
expect_verdict "a clean restart" ops
kill_node a
log=$(find a/data -name 'log-*.tly' -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2)
tear "$log" 9
start_node a
once d
expect_cold "a lost tail" ahead
expect "the answer's metric" 1 "$(metric a feed_cold_ahead_total)"
kill_node a
rm -r a/data
"$tallyctl" restore kept a/data >/dev/null
start_node a
once d
expect_cold "a backup" ahead
kill_node a
rm -r a/data
start_node a
ctl a incr ctr:fresh >/dev/null
once d
expect_cold "an empty disk" ahead
expect_dots d ctr: 1

# --- capabilities, prefixes ---
for i in {1..3}; do
    ctl a incr ctr:fresh >/dev/null
    once s --snapshots
    expect_cold "snapshots alone" no_delta s
done
expect_like "the verdict is in a header" 'Tally-Feed: cold_start; reason=no_delta' "$(http a /v1/sync -X POST -D - -o body)"
expect "nonsense" 400 "$(http_status a /v1/sync -d nonsense)"
http a /v1/counters/kv:one:a -d '{"value":"1"}' >/dev/null
http a /v1/counters/kv:two:a -d '{"value":"2"}' >/dev/null
expect_status 0 ctl a follow p kv:one: nosuch: --once --snapshots
expect_like "a prefix that nobody has" 'missing: nosuch:' "$output"
expect_dots p kv:one:a 1
expect_dots p kv:two:a 0
http a /v1/counters/kv:one:b -d '{"value":"3"}' >/dev/null
expect_status 0 ctl a follow p kv:one: nosuch: --once
expect_like "changes of a prefix" '^1 dots' "$output"
expect_status 0 ctl a follow p kv:two: --once
expect_dots p kv:one:a 0
expect_dots p kv:two:a 1

# --- it follows, and ends when it is told to ---
follow_on --interval 10
wait_until grep -q . follow.out
ctl a incr ctr:live 7 >/dev/null
wait_until ends_in_dots
expect_status 1 ctl a follow d --once
expect_like "one follower at a time" 'in use by process' "$output"
stop_node a
wait_until grep -q 'cannot reach' follow.out
start_node a
ctl a incr ctr:live >/dev/null
wait_until ends_in_dots
kill -TERM "$follower"
status=0
wait "$follower" || status=$?
expect "status after TERM" 0 "$status"
once d
wait_until holds_the_same d

# --- what it is not for ---
expect_status 1 ctl a follow a/data --once
expect_like "a node's directory is refused" 'is not empty' "$output"
expect_status 2 ctl a follow
expect_status 2 ctl a follow d --interval soon
expect_status 3 "$tallyctl" -s 127.0.0.1:1 follow d --once

# --- a node begins from it ---
stop_node a
mkdir b
cp -r d b/data
start_node b
expect_status 0 ctl b get ctr:live
expect "what was followed is served" 8 "$output"
expect_status 1 ctl b follow b/data --once
