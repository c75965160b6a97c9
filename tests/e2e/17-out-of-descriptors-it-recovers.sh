#!/usr/bin/env bash
# A node that is out of file descriptors serves the clients it has, says so, and takes more once some have gone.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli

answers() {
    [ "$(timeout 1 redis-cli -p "${resp_port[a]}" ping </dev/null)" = PONG ]
}

mkdir limited
printf '#!/bin/sh\nulimit -n 64\nexec "%s" "$@"\n' "$tallyd" >limited/tallyd
chmod +x limited/tallyd
tallyd=$PWD/limited/tallyd start_node a

mkfifo words
python crowd.py "${resp_port[a]}" 100 <words >crowd.out 2>&1 &
crowd=$!
helpers+=("$crowd")
exec {words}>words
wait_until grep -q crowded crowd.out
expect_logged a 'cannot accept.*open files'
expect "one more is served" no "$(answers && echo yes || echo no)"

echo go >&"$words"
wait_until answers
exec {words}>&-
result=0
wait "$crowd" || result=$?
expect "status of the first client ($(cat crowd.out))" 0 "$result"
expect_between "what it counted all the while" 50 1000000 "$(resp a get crowd)"
expect_between "lines in the log" 2 10 "$(wc -l <a/log)"
