#!/usr/bin/env bash
# Another cluster, or another node's name, is refused with the reason; nodes that restart in turn admit no hit twice.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli

cat >tally.yaml <<'END'
limits:
  - name: ten
    rate: 10/300d
    algorithm: fixed_window
END

start_cluster a b c -- -f "$PWD/tally.yaml"
expect "a write on a" 1 "$(resp a incr secret)"

# --- refused ---

start_node stranger -o cluster=other -o join="$(addresses a b c)"
expect_logged stranger 'peer refused.*another cluster'
expect_logged a 'peer (refused|said goodbye).*another cluster'
start_node twin -o name=a -o join="$(addresses a)"
expect_logged twin 'peer refused.*one name'
expect_logged a 'peer (refused|said goodbye).*one name'
wait_equal a b c
for node in stranger twin; do
    expect "what $node learned" '' "$(resp "$node" get secret)"
    sees "$node" 0 || fail "$node has a session"
done
stop_node stranger
stop_node twin
for node in a b c; do wait_until sees "$node" 2; done
wait_equal a b c

# --- all nodes have one list of seeds, so each is among its own ---

start_node own
stop_node own
start_node own -o peers="$(addresses own)" -o join="$(addresses own)"
expect_logged own 'info own address peer=own: '
expect "and nobody is woken" '' "$(sed -nE '/ (warn|error) /p' own/log)"
stop_node own

# --- a rolling restart ---

admitted=0
try() {
    local n got
    for ((n = 0; n < $2; n++)); do
        got=$(http_status "$1" /v1/check -d '{"limit":"ten","key":{}}')
        [ "$got" != 200 ] || admitted=$((admitted + 1))
    done
}

for node in a b c; do
    try "$node" 3
    others=$(printf '%s\n' a b c | grep -v "$node" | tr '\n' ' ')
    before=$(http "$node" /v1/cluster | json origin)
    stop_node "$node"
    read -ra rest <<<"$others"
    try "${rest[0]}" 1
    start_node "$node" -f "$PWD/tally.yaml" -o join="$(addresses "${rest[@]}")"
    expect "the life of $node goes on" "$before" "$(http "$node" /v1/cluster | json origin)"
    for other in a b c; do wait_until sees "$other" 2; done
    wait_equal a b c
done
for node in a b c; do try "$node" 5; done
expect "admitted in all, before, between and after" 10 "$admitted"
