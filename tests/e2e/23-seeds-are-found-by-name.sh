#!/usr/bin/env bash
# join=dns:NAME follows the answers for a name; one that fails or hangs stops nobody.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli python3

zone() {
    printf '%s\n' "$@" >zone.new
    mv zone.new zone
}

peers_port() {
    local address
    address=$(addresses "$1")
    printf '%s' "${address##*:}"
}

zone 'seed.test fail'
PYTHONDONTWRITEBYTECODE=1 python3 "$TALLY_E2E/dns.py" zone dns.port &
server=$!
wait_until test -f dns.port
resolver=127.0.0.1:$(cat dns.port)

start_node a
expect "a write on a" 1 "$(resp a incr k)"

# A name that fails is said once, and asked for again until it is there; the node serves meanwhile.
start_node b -o resolver="$resolver" -o join="dns:seed.test:$(peers_port a)"
expect_logged b 'dns:seed.test cannot be resolved'
expect "b serves" 1 "$(resp b incr other)"
zone 'seed.test A 127.0.0.1'
wait_until sees b 1
wait_equal a b
expect "what b learned" 1 "$(resp b get k)"
expect_logged b 'dns:seed.test is resolved again'

# SRV names host and port.
zone "_tally._tcp.test SRV localhost $(peers_port a)"
start_node c -o resolver="$resolver" -o join=dns:_tally._tcp.test
wait_until sees c 2
wait_equal a b c

# One that never answers costs nothing: the other seed is enough, and checks go on.
zone 'silent.test hang' 'seed.test A 127.0.0.1'
start_node d -o resolver="$resolver" -o join="dns:silent.test:1,dns:seed.test:$(peers_port a)"
wait_until sees d 3
expect_logged d 'dns:silent.test cannot be resolved'
wait_equal a b c d

expect_status 2 "$tallyd" -n -o data=none -o join=dns::
# shellcheck disable=SC2154  # set by expect_status
expect_like "a seed that is none" 'dns:NAME:PORT' "$output"
kill "$server"
