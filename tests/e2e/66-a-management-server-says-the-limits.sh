#!/usr/bin/env bash
# Limits from a management server by xDS, in the clear, in a directory and by TLS: taken and acknowledged, or refused with the reason; servers that go and come.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need openssl
/usr/bin/python3 -c 'import grpc, google.protobuf' 2>/dev/null || skip "no python3-grpcio here: tools/bootstrap test"

export CONFIG_TYPE=GRPC_XDS_SOTW CONFIG_GRPC_XDS_NODE_ID=node-7 CONFIG_GRPC_XDS_NODE_METADATA=zone=a,tier=b \
    CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS=x-token:secret CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL=50ms \
    GRPC_HOST=127.0.0.1 GRPC_PORT=0 HOST=127.0.0.1 PORT=0 DEBUG_HOST=127.0.0.1 DEBUG_PORT=0

# goes_through NAME [VARIABLE=VALUE]...: a node of that name and a management server, which says what it has heard.
goes_through() {
    local name=$1
    shift
    mkfifo "$name.port"
    env "$@" /usr/bin/python3 "$TALLY_E2E/xds.py" <"$name.port" >"$name.out" 2>"$name.err" &
    local manager=$!
    helpers+=("$manager")
    exec {to}>"$name.port"
    wait_until test -s "$name.out"
    CONFIG_GRPC_XDS_SERVER_URL="127.0.0.1:$(head -n 1 "$name.out")"
    [ "$name" != path ] || CONFIG_GRPC_XDS_SERVER_URL=unix:xds.sock
    export CONFIG_GRPC_XDS_SERVER_URL
    start_node "$name" -o log=info
    # Before it has heard anything it has no limits, and says so.
    expect "readyz without limits" 503 "$(http_status "$name" /readyz)"
    echo "${grpc_port[$name]}" >&"$to"
    exec {to}>&-
    wait "$manager" || fail "the management server ended with $?: $(tail -n 3 "$name.err")"
    expect "how it ended" "done" "$(tail -n 1 "$name.out")"
    expect "readyz" 200 "$(http_status "$name" /readyz)"
    expect "taken, refused" "4 5" "$(metric "$name" xds_accepted_total) $(metric "$name" xds_refused_total)"
    expect_like "what is counted" 'ratelimit.service.config_load_error: 5' "$(http "$name" /stats)"
    is_down() { [ "$(metric "$name" xds_up)" = 0 ]; }
    wait_until is_down
    stop_node "$name"
}
goes_through plain
goes_through path XDS_PATH=xds.sock

for name in manager node; do
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$name" \
        -addext "subjectAltName=DNS:$name.example" -keyout "$name.key" -out "$name.pem" 2>openssl.err ||
        fail "no certificate: $(cat openssl.err)"
done
export CONFIG_GRPC_XDS_SERVER_USE_TLS=true CONFIG_GRPC_XDS_SERVER_TLS_CACERT=$PWD/manager.pem CONFIG_GRPC_XDS_SERVER_TLS_SAN=manager.example \
    CONFIG_GRPC_XDS_CLIENT_TLS_CERT=$PWD/node.pem CONFIG_GRPC_XDS_CLIENT_TLS_KEY=$PWD/node.key
goes_through tls XDS_CERT=manager.pem XDS_KEY=manager.key XDS_CA=node.pem
