#!/usr/bin/env bash
# 300 hits on a limit of 100, in turns on three nodes: 100 to 105 pass, whatever door they take. (alone)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

cat >tally.yaml <<'END'
limits:
  - name: api
    key: tenant
    rate: 100/10s
    algorithm: fixed_window
  # curl is started for each hit, which takes as long as it takes.
  - name: sliding
    key: tenant
    rate: 100/1h
END

start_cluster a b c -- -f "$PWD/tally.yaml"
began=$(now_ms)
python limits.py "${resp_port[a]}:${http_port[a]}" "${resp_port[b]}:${http_port[b]}" "${resp_port[c]}:${http_port[c]}" >limits.out 2>&1 &
limits=$!
helpers+=("$limits")

admitted=0
nodes=(a b c)
for ((i = 0; i < 300; i++)); do
    got=$(http_status "${nodes[i % 3]}" /v1/check -d '{"limit":"sliding","key":{"tenant":"curl"},"hits":1}')
    case $got in
    200) admitted=$((admitted + 1)) ;;
    429) ;;
    *) fail "POST /v1/check answered $got" ;;
    esac
done
note "POST /v1/check by curl: $admitted admitted in $(($(now_ms) - began)) ms"
result=0
wait "$limits" || result=$?
cat limits.out
expect "status of the other client" 0 "$result"
expect_between "admitted to POST /v1/check" 100 105 "$admitted"
