#!/usr/bin/env bash
# cardinality_max and match on two real nodes, over every door, and after limits were replaced while they were in use.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

limits() {
    cat >next.yaml <<END
limits:
  - name: free
    key: tenant
    match: {plan: free*}
    rate: 3/300d
    algorithm: fixed_window
    cardinality_max: $1
END
    mv next.yaml tally.yaml
}

keys_are() {
    [ "$(metric "$1" 'limit_keys{limit="free"}')" = "$2" ]
}

limits 10
start_cluster a b -- -f "$PWD/tally.yaml"

for i in $(seq 8); do
    expect "tenant $i" 200 "$(http_status a "/check/free?tenant=t$i&plan=free-2")"
done
wait_until keys_are b 8
for i in 9 10; do
    resp b TLY.CHECK free tenant "t$i" plan free >one.out
    expect "tenant $i" ok "$(sed -n 2p one.out)"
done
wait_until keys_are a 10

# One more is admitted and not counted, as on_full says by itself; who is here goes on.
for _ in 1 2 3 4 5; do
    expect "tenant 11" 200 "$(http_status a '/check/free?tenant=t11&plan=free')"
done
expect "why" keys_full "$(http a /v1/check -d '{"limit":"free","key":{"tenant":"t11","plan":"free"}}' | json reason)"
expect "tenant 1, again" 200 "$(http_status b '/check/free?tenant=t1&plan=free')"
expect "tenant 1, a third time" 200 "$(http_status b '/check/free?tenant=t1&plan=free')"
expect "tenant 1, once more" 429 "$(http_status b '/check/free?tenant=t1&plan=free')"
expect "refused" 1 "$(metric b 'limit_checks_total{limit="free",result="refused"}')"
expect "uncounted" 6 "$(metric a 'limit_checks_total{limit="free",result="uncounted"}')"

# Whoever it is not for it does not refuse.
for plan in gold fre ''; do
    expect "plan '$plan'" 200 "$(http_status b "/check/free?tenant=t1&plan=$plan")"
done
expect "not for them" 3 "$(metric b 'limit_checks_total{limit="free",result="no_match"}')"

limits 11
took_over() {
    [ "$(http "$1" /v1/limits/free | json cardinality_max)" = 11 ]
}
wait_until took_over a
wait_until keys_are a 10
expect "what was counted goes on" 6 "$(metric a 'limit_checks_total{limit="free",result="uncounted"}')"
expect "there is room for tenant 11" 200 "$(http_status a '/check/free?tenant=t11&plan=free')"
wait_until keys_are b 11

expect_status 0 "$tallyd" -n -f "$PWD/tally.yaml"
sed -i 's/cardinality_max: 11/cardinality_max: lots/' tally.yaml
expect_status 2 "$tallyd" -n -f "$PWD/tally.yaml"
expect_like "where" "tally.yaml:7:22: 'lots'; expected a whole number" "$output"
