#!/usr/bin/env bash
# Started with the files and the environment of envoyproxy/ratelimit it is that; three such nodes keep one limit; a client from Node.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need node npm

rls() {
    /usr/bin/python3 "$TALLY_E2E/rls.py" "$@"
}
/usr/bin/python3 -c 'import grpc, google.protobuf' 2>/dev/null || skip "no python3-grpcio here: tools/bootstrap test"
install_clients || skip "npm ci failed: $(tail -n 1 npm.out)"

# As a deployment has it: a link that is swapped, and a directory of files in what it leads to.
mkdir -p v1/ratelimit/config v2/ratelimit/config
cp "$TALLY_E2E/rls.yaml" v1/ratelimit/config/acme.yaml
cp v1/ratelimit/config/acme.yaml v2/ratelimit/config/
printf 'domain: other\ndescriptors: [{key: five, rate_limit: {unit: day, requests_per_unit: 5}}]\n' >v2/ratelimit/config/other.yaml
ln -s v1 current

export RUNTIME_ROOT=$PWD/current RUNTIME_SUBDIRECTORY=ratelimit RUNTIME_WATCH_ROOT=true GRPC_HOST=127.0.0.1 GRPC_PORT=0 \
    DEBUG_HOST=127.0.0.1 DEBUG_PORT=0 HOST=127.0.0.1 PORT=0 LOG_LEVEL=warn REDIS_SOCKET_TYPE=tcp REDIS_URL=redis:6379 \
    USE_STATSD=false LIMIT_RESPONSE_HEADERS_ENABLED=true LIMIT_LIMIT_HEADER=x-limit LIMIT_REMAINING_HEADER=x-remaining \
    LIMIT_RESET_HEADER=x-reset
start_node a -o log=info
expect_logged a 'environment: REDIS_URL: not needed: there is no Redis'
expect_logged a 'environment: USE_STATSD: not supported: GET /metrics and /stats have the same numbers'
expect_status 0 timeout 100 node "$TALLY_E2E/rls.mjs" "127.0.0.1:${grpc_port[a]}" rules
expect "what the client from Node has to say" '' "$output"

# The second listener shows what the reference's debug port does.
debug() { curl -sS -m 20 --noproxy '*' "http://127.0.0.1:${debug_port[a]}$1"; }
expect "limits" "acme.two: unit=YEAR requests_per_unit=2, shadow_mode: false" "$(debug /rlconfig | head -n 1)"
expect "hits" "ratelimit.service.rate_limit.acme.two.total_hits: 5" "$(debug /stats | grep two.total_hits)"
calls() { http a /metrics | awk -v name="$1" 'index($1, name "{grpc_method=") == 1 { print $2 }'; }
expect_between "calls" 800 100000 "$(calls ratelimit_service_total_requests)"
expect_between "calls that were measured" "$(calls ratelimit_service_total_requests)" 100000 "$(calls ratelimit_service_response_time_seconds_count)"
expect "health" OK "$(http a /healthcheck)"

json='{"domain":"acme","descriptors":[{"entries":[{"key":"two","value":"json"}]}]}'
for status in 200 200 429; do expect "JSON" "$status" "$(http_status a /json -d "$json")"; done
expect "JSON of nothing" 400 "$(http_status a /json -d '{}')"

# The link is swapped; then a file is bad.
ln -s v2 next
mv -T next current
has_five() { debug /rlconfig | grep -q '^other.five: unit=DAY'; }
wait_until has_five
expect "loaded" 2 "$(http a /metrics | awk '$1 == "ratelimit_service_config_load_success" { print $2 }')"
sed -i 's/unit: day/unit: fortnight/' v2/ratelimit/config/other.yaml
expect_logged a "the limits stay as they are: config.other.yaml: invalid rate limit unit 'fortnight'"
expect "not loaded" 1 "$(http a /metrics | awk '$1 == "ratelimit_service_config_load_error" { print $2 }')"
has_five || fail 'the old limits have gone'

# What cannot be had is said before anything listens.
expect_status 2 env CONFIG_TYPE=GRPC_XDS_SOTW CONFIG_GRPC_XDS_SERVER_URL=127.0.0.1:1 CONFIG_GRPC_XDS_SERVER_USE_TLS=true \
    CONFIG_GRPC_XDS_SERVER_TLS_CACERT="$PWD/nowhere" "$tallyd" -n
expect_like "what -n says" 'TLS to the xDS server: .*nowhere: No such file' "$output"
start_wrong() { expect_status 2 env "$1" "$tallyd" -n; expect_like "with $1" "environment: ${1%%=*}=.*: expected " "$output"; }
start_wrong CONFIG_TYPE=ETCD
start_wrong GRPC_SERVER_USE_TLS=true
start_wrong SHADOW_MODE=maybe
start_wrong GRPC_PORT=http
start_wrong NEAR_LIMIT_RATIO=1.5

# What was answered was counted, and the other way round, though the node went while it was asked.
timeout 100 node "$TALLY_E2E/rls.mjs" "127.0.0.1:${grpc_port[a]}" drain >drain.out 2>drain.err &
asking=$!
helpers+=("$asking")
wait_until grep -q asking drain.out
stop_node a
wait "$asking" || fail "the asking ended with $?: $(tail -n 3 drain.err)"
expect_between "answers" 160 10000000 "$(tail -n 1 drain.out)"
ln -sfn v1 current
export SHADOW_MODE=true
start_node a -o log=info
unset SHADOW_MODE
expect "answers, and what was counted" "$(tail -n 1 drain.out)" "$(rls "127.0.0.1:${grpc_port[a]}" used many drain-js)"
expect_status 0 rls "127.0.0.1:${grpc_port[a]}" shadowed
expect "what is in the shadow" '' "$output"
stop_node a

# Three nodes behind one client that spreads its calls, and one limit.
start_cluster b c d
admitted=0
# Each hears of the other's hits before the next are made, so not one too many is let through; a node that hears of hits near the end
# holds back for a moment, so it is asked until all are gone.
spread() {
    local name got
    for name in b c d; do
        got=$(rls "127.0.0.1:${grpc_port[$name]}" hit hundred spread 12)
        admitted=$((admitted + got))
        wait_equal b c d
    done
    [ "$admitted" -ge 100 ]
}
wait_until spread
spread || fail 'some came back'
expect "admitted by three nodes of one limit" 100 "$admitted"
