#!/usr/bin/env bash
# ack=N on writes over HTTP, and WAIT: queued, sent, merged or durable at so many other nodes.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli

# acked QUERY OPTION OF CURL...: the header of a write on a.
acked() {
    local query=$1
    shift
    http a "/v1/counters/ctr:a?$query" -o body -D head "$@"
    sed -n 's/^Tally-Ack: \(.*\)\r$/\1/p' head
}

# The last has no disk, so nothing becomes durable at two.
start_cluster a b
start_node c -o join="$(addresses a b)" -o data=none
for name in a b c; do wait_until sees "$name" 2; done
expect_like "merged at two" '^merged; sent=2; merged=2; durable=[01]$' "$(acked 'ack=2&timeout_ms=20000' -d '{"delta":1}')"
expect "the answer is the usual one" 1 "$(json value <body)"
expect_like "durable at one" '^durable; sent=[12]; merged=[12]; durable=1$' "$(acked 'ack=1&timeout_ms=20000&durable=1' -d '{"delta":1}')"
expect_unlike "durable at two is not to be had" '^durable' "$(acked 'ack=2&timeout_ms=300&durable=1' -d '{"delta":1}')"
expect_like "a PUT" '^merged; ' "$(http a '/v1/counters/kv:a?ack=2&timeout_ms=20000' -T - -D - -o body <<<text | sed -n 's/^Tally-Ack: //p')"
expect_like "a DELETE" '^merged; ' "$(acked 'ack=2&timeout_ms=20000' -X DELETE)"
expect "for nobody" 'queued; sent=2; merged=2; durable=2' "$(acked ack=0 -d '{"delta":1}' | sed 's/sent=[0-2]; merged=[0-2]; durable=[0-2]/sent=2; merged=2; durable=2/')"
expect "no header unless asked for" "" "$(acked 'x=1' -d '{"delta":1}')"
for query in ack= ack=x ack=-1 ack=1025 'ack=1&timeout_ms=0' 'ack=1&timeout_ms=60001' 'ack=1&durable=2'; do
    expect "what is no wish: $query" 400 "$(http_status a "/v1/counters/ctr:never?$query" -d '{"delta":1}')"
done
expect "nothing was written then" 404 "$(http_status a /v1/counters/ctr:never)"
expect "who fails does not wait" 404 "$(http_status a '/v1/counters/nosuch?ack=2' -X DELETE)"

# --- RESP, as redis has it ---
expect "two wait" 2 "$(printf 'INCR ctr:w\nWAIT 2 20000\n' | redis-cli -p "${resp_port[a]}" | tail -n 1)"
expect "nobody" 0 "$(redis-cli -p "${resp_port[a]}" wait 0 0 | sed 's/[12]/0/')"
expect_like "words are no numbers" 'ERR value is not an integer' "$(resp a wait x 0)"
expect_like "nor times" 'ERR timeout is not an integer' "$(resp a wait 1 x)"
expect "nor negative" 'ERR timeout is negative' "$(resp a wait 1 -1)"
# What is behind a WAIT in a pipeline waits its turn.
printf 'INCR ctr:p\r\nWAIT 2 20000\r\nINCR ctr:p\r\n' | python3 -c 'import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(sys.stdin.buffer.read())
s.settimeout(30)
got = b""
while got.count(b"\r\n") < 3: got += s.recv(100)
print(got.decode().split())' "${resp_port[a]}" >pipeline
expect "a pipeline" "[':1', ':2', ':2']" "$(cat pipeline)"

# --- one that hears and does not answer, and one that is gone ---
freeze_node c
expect_like "only one of two merged" '^sent; sent=2; merged=1; ' "$(acked 'ack=2&timeout_ms=3000' -d '{"delta":1}')"
expect "WAIT says how many" 1 "$(printf 'INCR ctr:w\nWAIT 2 3000\n' | redis-cli -p "${resp_port[a]}" | tail -n 1)"
thaw_node c
wait_equal a b c
stop_node b
stop_node c
wait_until sees a 0
expect_like "nobody is there" '^queued; sent=0; ' "$(acked 'ack=1&timeout_ms=100' -d '{"delta":1}')"
for word in queued sent merged durable; do
    [ "$(metric a "acks_${word}_total")" -ge 1 ] || fail "acks_${word}_total was not counted"
done

# --- a client that goes while it waits, and a node that is stopped meanwhile ---
python3 -c 'import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
s.sendall(b"WAIT 1 0\r\n")' "${resp_port[a]}"
gone() { [ "$(metric a clients_open)" = "$1" ]; }
wait_until gone 1
http a '/v1/counters/ctr:a?ack=1&timeout_ms=60000' -d '{"delta":1}' -D head -o body &
helpers+=("$!")
wait_until gone 2
stop_node a
wait "${helpers[-1]}"
expect_like "what has become of it is said" 'Tally-Ack: queued; ' "$(cat head)"
