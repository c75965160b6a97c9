#!/usr/bin/env bash
# A peer behind a link that nothing passes costs its queue and nothing else; once it passes again both hold the same.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

# make check-hole: a minute at 50,000 writes/s, and time is compared.
seconds=${TALLY_HOLE_S:-3} rate=2000 how=untimed
if [ -n "${TALLY_HOLE_S:-}" ]; then rate=50000 how=timed patience_s=30; fi
if [ -n "$TALLY_SLOW" ]; then how=grows; fi # a sanitizer's memory is another

# b knows a by the link alone, and a cannot dial b.
start_node a -o data=none
start_link line "$(addresses a)"
stop_node a
start_node a -o data=none -o advertise="${over[line]}"
start_node b -o data=none -o peers=none -o join="${over[line]}"
wait_until sees a 1
wait_until sees b 1

python hole.py "${resp_port[a]}" "${pid[a]}" line.control "$seconds" "$rate" "$how"
began=$(now_ms)
wait_equal a b
note "equal $(($(now_ms) - began)) ms after the last write"
expect "dots that marks had lied about" 0 "$(($(metric a dots_repaired_total) + $(metric b dots_repaired_total)))"
