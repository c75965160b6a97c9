#!/usr/bin/env bash
# Why a key was refused, by tallyctl, HTTP and RESP alike, and what is refused most.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

cat >tally.yaml <<'END'
limits:
  - name: api
    key: tenant
    rate: 2/300d
    algorithm: fixed_window
END
start_cluster a -- -f "$PWD/tally.yaml"

expect_status 1 ctl a why rl:n:api:t1
expect_like "not refused yet" 'has not refused this key lately' "$output"
for _ in 1 2 3 4 5; do ctl a check api tenant=t1 >check.out || true; done
for _ in 1 2 3; do ctl a check --key k --rate 1/300d --algorithm fixed_window >check.out || true; done

expect_status 0 ctl a why rl:n:api:t1
expect_like "why" 'rl:n:api:t1: refused at .*, 3 times lately' "$output"
expect_like "the rule" 'rule +2 per 300 d' "$output"
expect_like "the numbers" 'reason +limit: 2 used .*\+ 1 hits of 2' "$output"
expect_like "the bound" 'bound then +0' "$output"
expect_like "the shards" 'life [0-9a-f]+: 2 units in epoch' "$output"
expect_status 0 ctl a why k
expect_like "of an ad-hoc limit" 'rl:a:k: refused at .*, 2 times lately' "$output"

said=$(http a /v1/why/rl:n:api:t1)
expect "HTTP: times" 3 "$(json times <<<"$said")"
expect "HTTP: the reason" limit "$(json verdict.reason <<<"$said")"
expect "HTTP: the shards" 2 "$(json shards.0.units <<<"$said")"
why=$(json verdict.why <<<"$said")
[ -n "$why" ] || fail "HTTP says no why"
said=$(resp a TLY.WHY rl:n:api:t1)
[[ $said == *$why* ]] || fail "RESP says another why: $said"
expect_like "and the shards" $'\nshards\norigin\n[0-9a-f]{16}\nwindow\n[0-9]+\nepoch\n[0-9]+\nunits\n2\nbefore\n0$' "$said"
expect "RESP of another" "" "$(resp a TLY.WHY nothing)"

expect_status 0 ctl a top --once
expect_like "most refused" $'most refused\nREFUSED +KEY .*\n3 +rl:n:api:t1 .*\n2 +rl:a:k ' "$output"
expect_like "fullest" $'fullest\nCHECKS/S +USED +LIMIT +KEY\n.*rl:n:api:t1.*\n\nmost' "$output"
expect_like "TLY.TOP REFUSED" $'^key\nrl:n:api:t1\ntimes\n3\nreason\nlimit\n' "$(resp a TLY.TOP REFUSED COUNT 2)"
expect_like "TLY.TOP FULLEST" $'^key\nrl:[^\n]+\nchecks_per_1000s\n[0-9]+\nused\n[12]\nlimit\n[12]' "$(resp a TLY.TOP FULLEST)"
for _ in $(seq 50); do http_status a '/check/api?tenant=busy' >one.out; done
expect_like "TLY.TOP HOTTEST" $'^key\nrl:n:api:busy\n' "$(resp a TLY.TOP HOTTEST COUNT 1)"
expect "the hottest by HTTP" rl:n:api:busy "$(http a /v1/top | json hottest.0.key)"
