#!/usr/bin/env bash
# 64 connections that open calls and reset them as fast as they can: others are answered all the same, memory stays bounded, no call counts.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
/usr/bin/python3 -c 'import grpc, google.protobuf' 2>/dev/null || skip "no python3-grpcio here: tools/bootstrap test"

mkdir rules
cat >rules/acme.yaml <<'END'
domain: acme
descriptors:
  - key: many
    rate_limit: {unit: year, requests_per_unit: 1000000}
END
start_node a -o grpc=127.0.0.1:0 -o ratelimit="$PWD/rules"
seconds=3
if [ -n "${TALLY_LONG:-}" ]; then seconds=60; fi
/usr/bin/python3 "$TALLY_E2E/resets.py" "${grpc_port[a]}" "${http_port[a]}" "${pid[a]}" "$seconds" >resets.out || fail "$(cat resets.out)"
note "$(cat resets.out)"
figure() {
    sed -n "s/.*\b$1=\([0-9]*\).*/\1/p" resets.out
}
expect_between "connections that were closed for it" 64 1000000000 "$(figure closed)"
# A sanitizer's own memory is many times that.
if [ -z "$TALLY_SLOW" ]; then
    expect_between "what its memory grew by, kB" -65536 32768 $(($(figure peak_kb) - $(figure before_kb)))
fi
expect "readyz" 200 "$(http_status a /readyz)"
