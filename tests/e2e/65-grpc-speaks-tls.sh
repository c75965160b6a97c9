#!/usr/bin/env bash
# The gRPC door speaks TLS: a real client asks through it, with a certificate of its own and without, while certificates are renewed.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need openssl
/usr/bin/python3 -c 'import grpc, google.protobuf' 2>/dev/null || skip "no python3-grpcio here: tools/bootstrap test"

# certificate NAME: NAME.pem vouches for itself, NAME.key is its key.
certificate() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" \
        -addext "subjectAltName=DNS:$1.example,IP:127.0.0.1" -keyout "$1.key" -out "$1.pem" 2>openssl.err ||
        fail "no certificate: $(cat openssl.err)"
}
for name in first second envoy stranger; do certificate "$name"; done
cp first.pem node.pem
cp first.key node.key
mkdir rules
cat >rules/acme.yaml <<'END_RULES'
domain: acme
descriptors:
  - key: many
    rate_limit: {unit: year, requests_per_unit: 1000000}
  - key: hundred
    rate_limit: {unit: year, requests_per_unit: 100}
END_RULES

# rls CA NAME CASE...: asks as NAME, or as nobody ('').
rls() {
    local own=()
    [ -z "$2" ] || own=("RLS_CERT=$2.pem" "RLS_KEY=$2.key")
    env "RLS_CA=$1.pem" "${own[@]}" /usr/bin/python3 "$TALLY_E2E/rls.py" "127.0.0.1:${grpc_port[a]}" "${@:3}"
}
start_node a -o grpc=127.0.0.1:0 -o ratelimit="$PWD/rules" -o grpc_tls_cert="$PWD/node.pem" -o grpc_tls_key="$PWD/node.key"
for case in transport parallel health; do
    expect_status 0 rls first '' "$case"
    expect "what $case has to say" '' "$output"
done
expect_status 0 rls second '' refused
expect_status 0 /usr/bin/python3 "$TALLY_E2E/rls.py" "127.0.0.1:${grpc_port[a]}" refused
expect_logged a 'reason="TLS: '
# Who offers another protocol gets none.
expect_status 1 openssl s_client -connect "127.0.0.1:${grpc_port[a]}" -alpn http/1.1 </dev/null
expect_like "what openssl was told" 'no application protocol' "$output"
# A hundred of those from one host are a line or two in the log.
lines=$(wc -l <a/log)
for ((i = 0; i < 100; i++)); do
    (exec 3<>"/dev/tcp/127.0.0.1/${grpc_port[a]}" && printf 'GET / HTTP/1.1\r\n\r\n' >&3 && cat <&3 >/dev/null) || true
done
expect_logged a 'peer=127.0.0.1 reason="TLS: wrong version number"'
expect_between "lines for a hundred that do not speak TLS" 1 10 $(($(wc -l <a/log) - lines))

# Renewed: new connections have it, the old goes on; halves of two pairs change nothing.
RLS_CA=first.pem /usr/bin/python3 "$TALLY_E2E/rls.py" "127.0.0.1:${grpc_port[a]}" until_told >asking.out 2>asking.err &
asking=$!
helpers+=("$asking")
wait_until grep -q asking asking.out
cp second.key next.key
mv next.key node.key
expect_logged a 'certificates stay as they are.*node.key: key values mismatch'
expect_status 0 rls first '' health
cp second.pem next.pem
mv next.pem node.pem
expect_logged a 'certificates loaded again from'
expect_status 0 rls second '' health
kill -TERM "$asking"
wait "$asking" || fail "the asking ended with $?: $(tail -n 3 asking.err)"
expect_between "answers" 20 100000000 "$(tail -n 1 asking.out)"
stop_node a

# As envoyproxy/ratelimit is told to, with certificates of clients.
export RUNTIME_ROOT=$PWD RUNTIME_APPDIRECTORY=rules GRPC_HOST=127.0.0.1 GRPC_PORT=0 HOST=127.0.0.1 PORT=0 DEBUG_HOST=127.0.0.1 DEBUG_PORT=0 \
    GRPC_SERVER_USE_TLS=true GRPC_SERVER_TLS_CERT=$PWD/second.pem GRPC_SERVER_TLS_KEY=$PWD/second.key \
    GRPC_CLIENT_TLS_CACERT=$PWD/envoy.pem GRPC_CLIENT_TLS_SAN=envoy.example
start_node b
grpc_port[a]=${grpc_port[b]}
expect_status 0 rls second envoy health
expect_status 0 rls second stranger refused
expect_status 0 rls second '' refused
expect_logged b 'reason="TLS: .*peer did not return a certificate'
