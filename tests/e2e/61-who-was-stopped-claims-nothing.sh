#!/usr/bin/env bash
# A node that is stopped while the others count on, and then goes on, has what it missed and counts nothing twice.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

# make check-hole: two minutes, long after the others have given it up.
seconds=${TALLY_FREEZE_S:-2}

start_cluster a b c
expect "c counts" 5 "$(resp c incrby mine 5)"
count_on --breaks 0 --seconds 10000 --keys 500 "${resp_port[a]}:${http_port[a]}" "${resp_port[b]}:${http_port[b]}"
freeze_node c
writes=$(metric a writes_total)
for ((turn = 0; turn < 2; turn++)); do
    has_written() {
        [ "$(metric a writes_total)" -gt "$writes" ]
    }
    wait_until has_written
    writes=$(metric a writes_total)
    read -rt "$seconds" -u "$never" || true
    seconds=0.1
done
thaw_node c
expect "c goes on counting" 6 "$(resp c incr mine)"
counted_enough
wait_equal a b c
for name in a b c; do
    expect "what c counted, on $name" 6 "$(resp "$name" get mine)"
    expect "dots that marks had lied about, on $name" 0 "$(metric "$name" dots_repaired_total)"
    wait_until sees "$name" 2
done
