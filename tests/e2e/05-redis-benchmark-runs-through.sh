#!/usr/bin/env bash
# redis-benchmark measures PING, INCR, GET, SET and CL.THROTTLE here as it does with redis, pipelined too. (alone)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-benchmark

benchmark() {
    expect_status 0 timeout 40 redis-benchmark -p "${resp_port[a]}" -q --csv "$@"
    expect_unlike "redis-benchmark $*" 'rror' "$output"
}

start_node a
before=$(metric a resp_commands_total)
benchmark -t ping,incr,get -n 20000 -r 1000 -P 16
for word in PING_INLINE PING_MBULK INCR GET; do expect_like "what was measured" "\"$word\"" "$output"; done
benchmark -t ping,incr,get -n 5000
benchmark -n 20000 -r 1000 -P 16 set kv:__rand_int__ text
benchmark -n 5000 set kv:__rand_int__ text
benchmark -n 5000 -r 1000 -P 16 cl.throttle key:__rand_int__ 15 30 60
after=$(metric a resp_commands_total)
expect_between "commands that the node counted" 130000 130100 $((after - before))

# Its own SET writes a text to a counter's key, which is refused, and told where texts live.
expect_status 1 timeout 40 redis-benchmark -p "${resp_port[a]}" -q -t set -n 100
expect_like "why its own SET does not run" 'kv:' "$output"
