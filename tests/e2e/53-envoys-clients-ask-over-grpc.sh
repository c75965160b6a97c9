#!/usr/bin/env bash
# A real gRPC client (grpcio) and a real protobuf ask as Envoy does, over TCP and over a unix socket; a drain loses no answer.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

# The distribution's python has the distribution's grpcio.
rls() {
    /usr/bin/python3 "$TALLY_E2E/rls.py" "$@"
}
/usr/bin/python3 -c 'import grpc, google.protobuf' 2>/dev/null || skip "no python3-grpcio here: tools/bootstrap test"

mkdir rules-1 rules-2
cp "$TALLY_E2E/rls.yaml" rules-1/acme.yaml
sed '/key: two$/,+1 s/requests_per_unit: 2}/requests_per_unit: 3}/' rules-1/acme.yaml >rules-2/acme.yaml
ln -s rules-1 rules

start_node a -o grpc=127.0.0.1:0 -o ratelimit="$PWD/rules"
for case in rules transport parallel health reflection idle; do
    expect_status 0 rls "127.0.0.1:${grpc_port[a]}" "$case"
    expect "what $case has to say" '' "$output"
done

# A link that is swapped is followed; what is no configuration changes nothing.
expect "limit before" 2 "$(rls "127.0.0.1:${grpc_port[a]}" limit two)"
ln -s rules-2 next
mv -T next rules
limit_is() { [ "$(rls "127.0.0.1:${grpc_port[a]}" limit two)" = "$1" ]; }
wait_until limit_is 3
echo 'descriptors: [' >rules-2/acme.yaml
expect_logged a 'the limits stay as they are: config.acme.yaml: error loading config file: yaml: '
expect "limit behind a bad file" 3 "$(rls "127.0.0.1:${grpc_port[a]}" limit two)"

# What was answered was counted, and the other way round, though the node went while it was asked.
cp rules-1/acme.yaml rules-2/acme.yaml
rls "127.0.0.1:${grpc_port[a]}" drain >drain.out 2>drain.err &
asking=$!
helpers+=("$asking")
rls "127.0.0.1:${grpc_port[a]}" watch_to_the_end >watch.out 2>watch.err &
watching=$!
helpers+=("$watching")
wait_until grep -q asking drain.out
wait_until grep -q watching watch.out
kill -TERM "${pid[a]}"
node_ends a "$patience_s"
expect "status after TERM" 0 "$status"
wait "$asking" || fail "the asking ended with $?: $(tail -n 3 drain.err)"
wait "$watching" || fail "the watching ended with $?: $(tail -n 3 watch.err)"
expect_unlike "how it went" 'not everybody took' "$(cat a/log)"

# The store has it all; over the other kind of socket.
start_node a -o grpc="unix:$PWD/grpc.sock" -o ratelimit="$PWD/rules"
expect "answers, and what was counted" "$(tail -n 1 drain.out)" "$(rls "unix:$PWD/grpc.sock" used many drain)"
expect_between "answers" 160 1000000 "$(tail -n 1 drain.out)"

# Of files that cannot be read from the start on nothing is in force: the node is not ready before they are set right.
mkdir rules-3
echo 'descriptors: [' >rules-3/acme.yaml
start_node b -o grpc=127.0.0.1:0 -o ratelimit="$PWD/rules-3"
expect_logged b 'nothing is limited and calls are refused: config.acme.yaml: error loading config file: yaml: '
expect "readyz without limits" 503 "$(http_status b /readyz)"
expect_like "which says" '^ratelimit: ' "$(http b /readyz)"
expect "health without limits" 500 "$(http_status b /healthcheck)"
cp rules-1/acme.yaml rules-3/acme.yaml
is_ready() { [ "$(http_status b /readyz)" = 200 ]; }
wait_until is_ready
expect "limit once they are right" 2 "$(rls "127.0.0.1:${grpc_port[b]}" limit two)"
