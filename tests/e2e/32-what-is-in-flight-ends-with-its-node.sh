#!/usr/bin/env bash
# Concurrency: leases count on all nodes until they are released, or end, or their node is killed; and come back once.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

cat >tally.yaml <<'END'
limits:
  - name: jobs
    key: tenant
    rate: 100/4s
    algorithm: concurrency
END
start_cluster a b c -- -f "$PWD/tally.yaml"

# The word behind a name in a flat list.
behind() {
    awk -v name="$1" 'found { print; exit } $0 == name { found = 1 }'
}

left() {
    resp "$1" TLY.PEEK jobs tenant t1 | behind remaining
}

has_left() {
    [ "$(left "$1")" = "$2" ]
}

for i in $(seq 60); do
    resp a TLY.ACQUIRE jobs tenant t1 TTL 600000 ID "a$i" >one.out
    expect "lease $i of a" "a$i" "$(head -n 1 one.out)"
done
wait_until has_left b 40
for i in $(seq 40); do
    resp b TLY.ACQUIRE jobs tenant t1 TTL 600000 ID "b$i" >one.out
done
for node in a b c; do
    wait_until has_left "$node" 0
done

body='{"limit":"jobs","key":{"tenant":"t1"},"id":"c1","ttl_ms":600000}'
said=$(http c /v1/acquire -d "$body")
expect "refused" over "$(json verdict.code <<<"$said")"
expect_like "why" '^100 in flight \(0 from here, 100 from other nodes\) \+ 1 hits of 100$' "$(json verdict.why <<<"$said")"
expect "the bound" 200 "$(json verdict.bound <<<"$said")"
expect_status 0 ctl c limit show jobs
expect_like "limit show" 'concurrency, optimistic.*follows from \(members - 1\) \* limit' "${output//$'\n'/ }"

expect "released" released "$(http b /v1/release -d '{"id":"b7"}' | json state)"
wait_until has_left c 1
expect "acquired" open "$(http c /v1/acquire -d "$body" | json state)"
wait_until has_left a 0

# They are said anew as long as they are held: after three windows nothing has come back.
is_past() {
    [ "$(now_ms)" -ge "$1" ]
}
for _ in $(seq 12); do
    wait_until is_past $(($(now_ms) + 1000))
    expect "held on" 0 "$(left c)"
done

kill_node a
wait_until has_left b 60
expect "of those that live nothing came back" 60 "$(left c)"
start_node a -f "$PWD/tally.yaml" -o join="127.0.0.1:${peers_port[b]}"
wait_until has_left a 60
expect_like "the next life knows none of them" 'no reservation or lease' "$(resp a TLY.RELEASE a1 2>&1 || true)"
expect "and gives nothing back again" 60 "$(left a)"
expect "leases of b" 39 "$(metric b leases)"
