#!/usr/bin/env bash
# Of two nodes of one name that meet only a third one, one is refused with the reason, and does not come back all the time.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

dialled() {
    [ "$(metric a dials_total)" -ge "$1" ]
}

start_cluster a b
start_node twin -o name=a -o join="$(addresses b)"
expect_logged b 'peer refused peer=a: .*one name'
expect_logged a 'one name'
wait_until sees twin 1
expect_between "sessions that came up on b" 1 20 "$(metric b sessions_up_total)"

# It tries again, after 100 ms and then each time later.
wait_until dialled 3
so_far=$(metric a dials_total)
if holds_within 4 dialled $((so_far + 20)); then fail "a dialled $(($(metric a dials_total) - so_far)) times in 4 s"; fi
