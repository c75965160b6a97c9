#!/usr/bin/env bash
# The examples for Envoy: the limits load and do what their comments say, and the settings are those that there are.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
examples=$TALLY_E2E/../../tools/examples/envoy

start_node a -o ratelimit="$examples/ratelimit" -o grpc="unix:$PWD/grpc.sock"
expect_logged a 'loaded 8 descriptors in 1 domains'
expect "first limit" "gateway.remote_address: unit=SECOND requests_per_unit=100, shadow_mode: false" "$(http a /rlconfig | head -n 1)"

# ask PAIR...: the status of one descriptor.
ask() {
    local pair entries=
    for pair; do entries+=",{\"key\":\"${pair%%=*}\",\"value\":\"${pair#*=}\"}"; done
    http a /json -d "{\"domain\":\"gateway\",\"descriptors\":[{\"entries\":[${entries#,}]}]}"
}
expect "an address" OK "$(ask remote_address=10.0.0.1 | json statuses.0.code)"
expect "its limit" 100 "$(ask remote_address=10.0.0.2 | json statuses.0.currentLimit.requestsPerUnit)"
expect "one that is not wanted" OVER_LIMIT "$(ask remote_address=203.0.113.7 | json statuses.0.code)"
left() { ask tenant=acme "path=$1" | json statuses.0.limitRemaining; }
expect "orders" 999 "$(left /orders/1)"
expect "other orders of the same tenant" 998 "$(left /orders/2)"
expect_unlike "another path has no limit" currentLimit "$(ask tenant=acme path=/)"
expect "no limit" 4294967295 "$(ask tenant=internal path=/x | json statuses.0.limitRemaining)"
expect "one that is watched only" 1000 "$(ask tenant=pilot path=/x | json statuses.0.currentLimit.requestsPerUnit)"

# What Envoy Gateway starts is a command line that is understood, with the environment that it sets.
args=$(sed -n 's/^ *args: //p' "$examples/envoy-gateway.yaml" | tr -d '[]",')
# shellcheck disable=SC2086  # words without spaces
expect_status 0 env CONFIG_TYPE=GRPC_XDS_SOTW CONFIG_GRPC_XDS_SERVER_URL=envoy-gateway:18001 "$tallyd" $args -n
expect_like "what it has to say" 'configuration ok' "$output"

# Documents of Envoy and Istio name this socket's kind, the domain and the keys of the file.
for name in gateway remote_address tenant path; do
    for file in envoy.yaml istio-envoyfilter.yaml; do
        grep -qw "$name" "$examples/$file" || fail "$file does not name $name"
    done
done
