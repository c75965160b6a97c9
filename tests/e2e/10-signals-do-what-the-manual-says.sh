#!/usr/bin/env bash
# TERM drains and ends with 0 within 5 seconds whoever does not read; a second one ends at once; HUP reads the limits again.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli

# A sanitizer looks for leaks at the end, which is no part of stopping.
end_s=$((5 + patience_s - 15))

# ends NAME: waits for that; $took is how long it took, in ms.
took=0
ends() {
    local began
    began=$(now_ms)
    node_ends "$1" "$patience_s"
    took=$(($(now_ms) - began))
    expect "status of $1" 0 "$status"
}

# is_steady NODE SERIES LEAST: at least that, and the same for five looks in a row.
last='' looks=0
is_steady() {
    local value
    value=$(metric "$1" "$2")
    if [ "$value" -ge "$3" ] && [ "$value" = "$last" ]; then looks=$((looks + 1)); else looks=0; fi
    last=$value
    [ "$looks" -ge 5 ]
}

# lags NAME PEER LEAST: so many dots have not been acknowledged by the peer.
lags() {
    local dots
    dots=$(metric "$1" "peer_lag_dots{peer=\"$2\"}")
    [ "${dots:-0}" -ge "$3" ]
}

# stopping NAME TIMES: its log says so often that it stops.
stopping() {
    [ "$(grep -c 'stopping: draining' "$1/log")" -eq "$2" ]
}

start_stuck_client() {
    python drain.py stuck "${resp_port[$1]}" >stuck.out 2>&1 &
    helpers+=($!)
    wait_until grep -q stuck stuck.out
    wait_until is_steady "$1" resp_commands_total 10
    expect_between "commands taken of a client that reads nothing" 10 990 "$last"
}

# --- TERM ---

start_node a
answers=$(python drain.py answers "${resp_port[a]}" "${pid[a]}") || fail "$answers"
ends a
note "$answers answers while it stopped, which took $took ms"
start_node a
expect "what was counted: no answer was lost, and nothing was done unanswered" "$answers" "$(resp a get drained)"
expect_logged a 'stopping: draining'

python drain.py idle "${resp_port[a]}" "${pid[a]}"
ends a
expect_between "ms to stop with nothing to do" 0 $(((end_s - 3) * 1000)) "$took"

start_node a
kill -INT "${pid[a]}"
ends a

# --- TERM, and somebody does not read ---

start_node a
start_stuck_client a
kill -TERM "${pid[a]}"
wait_until stopping a 4
expect_unlike "readiness while it stops" '^200$' "$(http_status a /readyz 2>/dev/null || true)"
ends a
note "with a client that never reads it took $took ms"
expect_between "ms to stop with a client that never reads" 0 $((end_s * 1000)) "$took"

start_node a
start_stuck_client a
expect "acknowledged before" 1 "$(resp a incr kept)"
kill -TERM "${pid[a]}"
wait_until stopping a 5
kill -TERM "${pid[a]}"
ends a
expect_between "ms to stop when told twice" 0 $(((end_s - 4) * 1000)) "$took"
expect_logged a 'told to stop again'
start_node a
expect "acknowledged before two TERMs" 1 "$(resp a get kept)"
stop_node a

# While it closes it has nothing more to say to a signal.
clean='' times=0
for apart in 0.001 0.001 0.001 0.002 0.004 0.008 0.001 0.016 0.001 0.001 0.002 0.032; do
    start_node a
    expect "incr" "$((times + 1))" "$(resp a incr twice)"
    times=$((times + 1))
    [ -z "$clean" ] || expect "the life, which goes on after a clean stop" "$clean" "$(http a /v1/cluster | json origin)"
    clean=$(http a /v1/cluster | json origin)
    kill -TERM "${pid[a]}"
    read -rt "$apart" -u "$never" || true
    kill -TERM "${pid[a]}" 2>/dev/null || true
    ends a
done

# More than the kernel takes on the way, and nothing that could be compressed.
head -c 12000000 /dev/urandom | base64 -w 480 | sed 's/^/INCR r:/; s/$/\r/' >commands
start_cluster a b
freeze_node b
redis-cli -p "${resp_port[a]}" --pipe <commands >pipe.out
wait_until lags a b 10000
kill -TERM "${pid[a]}"
ends a
note "with a peer that never reads it took $took ms"
expect_between "ms to stop with a peer that never reads" 0 $((end_s * 1000)) "$took"
thaw_node b
stop_node b

# --- HUP ---

limits() {
    cat >"$1" <<END
limits:
  - name: api
    rate: $2/300d
    algorithm: fixed_window
END
}
limit() {
    http c /v1/limits | json 0.limit
}
is_limit() {
    [ "$(limit)" = "$1" ]
}
# How many of ten are admitted.
admitted() {
    local n=0
    for _ in {1..10}; do [ "$(http_status c /v1/check -d '{"limit":"api","key":{}}')" != 200 ] || n=$((n + 1)); done
    echo "$n"
}

limits tally.yaml 5
start_node c -f "$PWD/tally.yaml"
expect "admitted by 5" 5 "$(admitted)"
limits tally.yaml 7
kill -HUP "${pid[c]}"
wait_until is_limit 7
expect "admitted by 7, of which 5 were taken" 2 "$(admitted)"
expect_logged c 'reloaded 1 limits'

printf 'limits:\n  - name: api\n    rate: 9/300d\n    algorithm: guess\n' >tally.yaml
kill -HUP "${pid[c]}"
expect_logged c 'reload refused.*tally\.yaml:4:16: '
expect "the limit after a broken file" 7 "$(limit)"
printf 'limits: [' >tally.yaml
kill -HUP "${pid[c]}"
expect_logged c 'reload refused.*tally\.yaml:[12]:[0-9]+: '
rm tally.yaml
kill -HUP "${pid[c]}"
expect_logged c 'reload refused.*No such file'
expect "the limit after no file" 7 "$(limit)"
limits tally.yaml 8
kill -HUP "${pid[c]}"
wait_until is_limit 8
expect "admitted by 8, of which 7 were taken" 1 "$(admitted)"
