#!/usr/bin/env bash
# A stopped holder still holds the directory; one whose LOCK was removed by hand says so at its next publish and writes no more.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli

# --- stopped, it still holds ---

start_node a
expect "incr" 1 "$(resp a incr held)"
freeze_node a
expect_status 1 timeout 20 "$tallyd" -o name=a -o data="$PWD/a/data" -o resp=none -o http=none -o peers=none
expect_like "whose it is" "process ${pid[a]}" "$output"
thaw_node a
expect "incr" 2 "$(resp a incr held)"

# --- LOCK is removed, and a second one is started ---

# Leases are published while there are writes.
says_so() {
    resp a incr first >/dev/null
    http a /readyz | grep -q 'written by another process'
}

rm a/data/LOCK
start_node b -o data="$PWD/a/data"
expect "what the first had counted" 2 "$(resp b get held)"
expect "incr, of the second" 1 "$(resp b incr second)"
wait_until says_so
expect "readyz of the first" 503 "$(http_status a /readyz)"
expect_like "what to do" "stop one of the two" "$(http a /readyz)"
expect_logged a "error .*written by another process"
expect "a check all the same" 200 "$(http_status a /v1/check -d '{"key":"k","rate":"5/m"}')"
expect "readyz of the second" 200 "$(http_status b /readyz)"
stop_node a
for value in 2 3 4; do expect "incr, of the second" "$value" "$(resp b incr second)"; done
kill_node b
start_node b -o data="$PWD/a/data"
expect "what the second had counted" 4 "$(resp b get second)"
expect "what both had" 2 "$(resp b get held)"
stop_node b
expect_status 0 "$tallyctl" store check a/data
