#!/usr/bin/env bash
# Connections that reset calls, or say what asks for nothing, as fast as they can: they are told to calm down and closed, all others go on.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need python3
/usr/bin/python3 -c 'import grpc, google.protobuf' 2>/dev/null || skip "no python3-grpcio here: tools/bootstrap test"
mkdir rules
cat >rules/acme.yaml <<'END_RULES'
domain: acme
descriptors:
  - key: many
    rate_limit: {unit: year, requests_per_unit: 1000000}
END_RULES
start_node a -o grpc=127.0.0.1:0 -o ratelimit="$PWD/rules"

# Somebody asks all the time: not one call may fail.
/usr/bin/python3 "$TALLY_E2E/rls.py" "127.0.0.1:${grpc_port[a]}" until_told >asking.out 2>asking.err &
asking=$!
helpers+=("$asking")
wait_until grep -q asking asking.out
before=$(rss_kb a)

count=0
for flood in resets:8 wrong:4 calls:4 pings:4 settings:4 priorities:4 windows:4 pongs:4 strangers:4 pieces:4; do
    expect_status 0 python floods.py "${grpc_port[a]}" "${flood%:*}" "${flood#*:}"
    count=$((count + ${flood#*:}))
done
are_calmed() { [ "$(metric a clients_calmed_total)" = "$count" ]; }
wait_until are_calmed
# What a sanitizer keeps beside a block, and of freed ones, is not what the node holds.
[ -n "$TALLY_SLOW" ] || expect_between "KiB more than before" -65536 65536 "$(($(rss_kb a) - before))"

kill -TERM "$asking"
wait "$asking" || fail "the asking ended with $?: $(tail -n 3 asking.err)"
expect_between "answers meanwhile" 1 100000000 "$(tail -n 1 asking.out)"
expect "what was counted" "$(tail -n 1 asking.out)" "$(/usr/bin/python3 "$TALLY_E2E/rls.py" "127.0.0.1:${grpc_port[a]}" used many flood)"
