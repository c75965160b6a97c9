#!/usr/bin/env bash
# redis-benchmark measures PING, INCR, GET and SET here as it does with redis, pipelined too. (alone)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-benchmark

benchmark() {
    expect_status 0 timeout 40 redis-benchmark -p "${resp_port[a]}" -q --csv "$@"
    expect_unlike "redis-benchmark $*" 'rror' "$output"
}

start_node a
before=$(metric a resp_commands_total)
benchmark -t ping,incr,get,set -n 20000 -r 1000 -P 16
for word in PING_INLINE PING_MBULK INCR GET SET; do expect_like "what was measured" "\"$word\"" "$output"; done
benchmark -t ping,incr,get,set -n 5000
benchmark -n 5000 -P 16 cl.throttle key:__rand_int__ 15 30 60
benchmark -n 5000 set kv:__rand_int__ text
after=$(metric a resp_commands_total)
expect_between "commands that the node counted" 135000 136000 $((after - before))
