#!/usr/bin/env bash
# More keys than fit: memory stays under memory_max, every key that was taken keeps its count, new ones get what on_full says. (alone)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli

keys=${TALLY_MEMORY_KEYS:-300000} ceiling_mb=${TALLY_MEMORY_MB:-16}
# A restart reads millions of them.
if [ -n "${TALLY_MEMORY_KEYS:-}" ]; then patience_s=300; fi
if [ -n "$TALLY_SLOW" ]; then keys=250000; fi
# What a node holds beside what grows with its keys: the program, the loop's buffers, batches on their way to the disk.
constant_mb=64

start_node a -o memory_max="${ceiling_mb}m" -o on_full=refuse
expect "a key counts before" 1 "$(resp a incr before)"
series() {
    http a /metrics | grep -c '^tally_'
}
series_before=$(series)
python flood.py "${resp_port[a]}" "${pid[a]}" "$keys" >flood.out || fail "$(cat flood.out)"
note "memory_max ${ceiling_mb} MiB, $keys keys: $(cat flood.out)"
figure() {
    sed -n "s/.*\b$1=\([0-9]*\).*/\1/p" flood.out
}
taken=$(figure taken)
expect_between "keys taken" 10000 $((keys - 1000)) "$taken"
expect "the others were refused" $((keys - taken)) "$(figure refused)"
# A sanitizer's own memory is many times that.
if [ -z "$TALLY_SLOW" ]; then
    expect_between "its greatest memory, kB" 1 $(((ceiling_mb + constant_mb) * 1024)) "$(figure peak_kb)"
fi

expect "metrics: no series came with the keys" "$series_before" "$(series)"
expect "metrics: the ceiling" $((ceiling_mb << 20)) "$(metric a memory_max_bytes)"
expect_between "metrics: what is used" $((ceiling_mb << 19)) $((ceiling_mb << 20)) "$(metric a memory_used_bytes)"
expect "metrics: refused writes" $((keys - taken)) "$(metric a writes_refused_full_total)"
expect "readyz" 200 "$(http_status a /readyz)"
expect "an old key counts" 2 "$(resp a incr before)"
# Memory is taken in lumps, and a key of another size may still fit: these are as long as those that came.
new=a-new-key-that-has-31-bytes-too
expect_like "a new key over RESP" "^OOM command not allowed when used memory > 'memory_max'" "$(resp a incr "$new" 2>&1)"
# It says so for a minute after the last refusal; to read millions of keys takes longer.
expect "metrics: full" 1 "$(metric a memory_full)"
expect "a new key over HTTP" 507 "$(http_status a "/v1/counters/$new" -X POST)"
expect "… and its code" full "$(http a "/v1/counters/$new" -X POST | json code)"
check='{"key":"newk","rate":"5/1d","algorithm":"fixed_window"}'
# Checks with keys as long as that of $check, until one does not fit.
fill_checks() {
    local turn
    for turn in 1 2 3 4 5 6 7 8 9; do
        python3 -c 'import json, sys; print(json.dumps([{"key": f"{sys.argv[1]}{i:03}", "rate": "5/1d", "algorithm": "fixed_window"} for i in range(1000)]))' "$turn" >checks
        http "$1" /v1/check -d @checks >checks.out
        ! grep -q memory_full checks.out || return 0
    done
    fail "nine thousand checks fitted"
}
# says_full NODE STATUS METRIC: twice, with its reason, and counted as such. Memory that was for something else meanwhile may have come
# back, and is filled then.
says_full() {
    local before
    fill_checks "$1"
    before=$(metric "$1" "$3")
    [ "$(http_status "$1" /v1/check -d "$check")" = "$2" ] || return 1
    [ "$(http "$1" /v1/check -d "$check" | json reason)" = memory_full ] || return 1
    [ "$(metric "$1" "$3")" = $((before + 2)) ]
}
wait_until says_full a 429 checks_refused_full_total

expect_logged a 'memory full: new keys are refused'

# A peer without a ceiling has more than fits here: it is told apart from what is lost, and old keys stay up to date.
start_node b -o join="$(addresses a)"
wait_until sees a 1
python flood.py "${resp_port[b]}" "${pid[b]}" "$keys" 1000000000 >flood.b || fail "$(cat flood.b)"
is_held_back() {
    [ "$(metric a peers_held_back)" -eq 1 ]
}
wait_until is_held_back
expect "readyz" 503 "$(http_status a /readyz)"
expect_like "… and why" $'(^|\n)memory: ' "$(http a /readyz || true)"
expect "the peer" true "$(http a /v1/peers | json 0.held_back)"
expect_logged a 'memory full peer=b'
old_count() {
    [ "$(resp a get before)" -eq "$1" ]
}
for count in 3 4 5; do
    expect "an old key counts elsewhere" "$count" "$(resp b incr before)"
    wait_until old_count "$count"
done
if [ -z "$TALLY_SLOW" ]; then
    expect_between "its memory, kB" 1 $(((ceiling_mb + constant_mb) * 1024)) "$(rss_kb a)"
fi
stop_node b

held=$(resp a dbsize)
stop_node a
start_node a -o memory_max="${ceiling_mb}m" -o on_full=admit
expect "keys after a restart" "$held" "$(resp a dbsize)"
wait_until says_full a 200 checks_uncounted_total
