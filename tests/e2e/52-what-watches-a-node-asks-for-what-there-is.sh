#!/usr/bin/env bash
# Prometheus takes the metrics and the alert rules, and rules and dashboard ask for nothing that a node does not say.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need promtool

examples=$TALLY_E2E/../../tools/examples

knows_round_trip() {
    http a /metrics | grep '^tally_peer_rtt_seconds'
}

printf 'limits:\n  - {name: api, key: t, rate: 1/s, cardinality_max: 5}\n' >tally.yaml
start_cluster a b -- -o memory_max=64m -f "$PWD/tally.yaml"
wait_until knows_round_trip
http a /metrics >metrics.txt
expect_status 0 promtool check metrics <metrics.txt
expect "what promtool has to say" '' "$output"
grep -o '^tally_[a-z_]*' metrics.txt | sort -u >said.txt

expect_status 0 promtool check rules "$examples/alerts.yaml"
expect_like "rules" 'SUCCESS: 11 rules found' "$output"
expect "panels" 15 "$(python3 -c 'import json, sys; print(len(json.load(sys.stdin)["panels"]))' <"$examples/grafana.json")"
for file in alerts.yaml grafana.json; do
    grep -o 'tally_[a-z_]*' "$examples/$file" | sort -u >asked.txt
    comm -23 asked.txt said.txt >unknown.txt
    expect "what $file asks for in vain" '' "$(cat unknown.txt)"
    [ "$(wc -l <asked.txt)" -ge 8 ] || fail "$file asks for next to nothing"
done

# What was measured in a session ends with it: rules and panels are not to take the last of it for what is.
session_ended() {
    http a /metrics >metrics.txt
    grep -q '^tally_peer_up{peer="b"} 0$' metrics.txt
}
kill_node b
wait_until session_ended
expect "what is said of b without a session" '' "$(grep -E '^tally_peer_(lag_dots|rtt_seconds|offset_seconds){peer="b"}' metrics.txt || true)"
start_node b -o memory_max=64m -f "$PWD/tally.yaml" -o join="$(addresses a)"
wait_until knows_round_trip

# Rules are not to ring for who was stopped, nor for who is linked through others.
has_no_peer_series() {
    ! http "$1" /metrics | grep -q "^tally_peer_[a-z_]*{peer=\"$2\"}"
}
stop_node b
wait_until has_no_peer_series a b
stop_node a
start_node c -o mesh_max=2 -o data=none
for name in d e f g h i; do start_node "$name" -o mesh_max=2 -o data=none -o join="$(addresses c)"; done
knows_all() {
    ctl i peers >peers.txt
    [ "$(grep -cE ' (up, |not linked)' peers.txt)" = 6 ] && grep -q 'not linked' peers.txt
}
wait_until knows_all
http i /metrics >metrics.txt
expect "peers that are down" '' "$(grep '^tally_peer_up{.*} 0$' metrics.txt || true)"
expect "peers that are up" "$(grep -c ' up, ' peers.txt)" "$(grep -c '^tally_peer_up{.*} 1$' metrics.txt)"
