#!/usr/bin/env bash
# Who subscribes hears of refusals: redis-cli, ioredis and node-redis, by RESP2 and RESP3, on channels and by patterns.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli node npm

cat >tally.yaml <<'END'
limits:
  - name: api
    key: tenant
    rate: 2/300d
    algorithm: fixed_window
END
install_clients || skip "npm ci failed: $(tail -n 1 npm.out)"
start_node a -f "$PWD/tally.yaml"
listeners() {
    [ "$(metric a watchers)" -eq "$1" ]
}

redis-cli -p "${resp_port[a]}" SUBSCRIBE over:api over:other >channel.out &
helpers+=($!)
redis-cli -3 -p "${resp_port[a]}" PSUBSCRIBE 'over*' >pattern.out &
helpers+=($!)
wait_until listeners 2

for _ in 1 2 3 4; do resp a TLY.CHECK api tenant t1 >check.out; done
expect_like "an ad-hoc limit is over" '^1' "$(resp a CL.THROTTLE user 0 1 86400 2)"
wait_until grep -q '"key":"rl:n:api:t1"' channel.out
wait_until grep -q '"key":"rl:a:user"' pattern.out
wait_until grep -q '"key":"rl:n:api:t1"' pattern.out
expect_unlike "what is heard on a channel of another" user "$(cat channel.out)"
expect "by a pattern it has the channel" "over:api" "$(grep -m 1 -x over:api pattern.out)"
expect_like "the verdict is in it" '"verdict":\{"code":"over","limit":2,.*"why":' "$(grep -m 1 rl:n:api channel.out)"

expect_status 0 timeout 50 node "$TALLY_E2E/subscribe.mjs" "${resp_port[a]}"
printf '%s\n' "$output"
wait_until listeners 2
