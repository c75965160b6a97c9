#!/usr/bin/env bash
# A joiner needs a snapshot while there are writes, and its link is cut twice: it goes on where it was, and costs the source nothing.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

# make check-joiner: a million keys and 10,000 writes/s.
keys=${TALLY_JOINER_KEYS:-60000} rate=1000 cut_bytes=100000
if [ -n "${TALLY_JOINER_KEYS:-}" ]; then rate=10000 cut_bytes=1000000 patience_s=300; fi

forgot() {
    [ "$(metric a removes_forgotten_total)" -ge 1 ]
}
installed() {
    [ "$(metric b snapshots_installed_total)" -ge 1 ]
}

has_row() {
    grep '"kind":"install"' b/data/audit.log 2>/dev/null | grep -q '"outcome":"done"'
}

# b knows a by this line alone. The first connection is cut by the nearer half of it, the second, later in it, by the other.
start_node a -o tombstone_grace=1
start_link near "$(addresses a)" -r 40M -q 64k
start_link far "${over[near]}"
stop_node a
start_node a -o tombstone_grace=1 -o advertise="${over[far]}"
resp a set kv:gone x >/dev/null
resp a del kv:gone >/dev/null
python joiner.py fill "${resp_port[a]}" "$keys"
# What is forgotten no round can tell: so b gets a snapshot.
wait_until forgot

mkfifo words
python3 "$TALLY_E2E/joiner.py" write "${resp_port[a]}" "$keys" "$rate" "${pid[a]}" <words >written &
writer=$!
helpers+=("$writer")
exec {words}>words
before=$(metric a writes_total)
has_warmed() {
    [ "$(metric a writes_total)" -ge $((before + rate * 2)) ]
}
wait_until has_warmed
echo >&"$words"

expect "the link" ok "$(tell_link near "after down $cut_bytes rst")"
expect "the link" ok "$(tell_link far "after down $((2 * cut_bytes)) rst")"
start_node b -o tombstone_grace=1 -o peers=none -o join="${over[far]}"
wait_until installed
echo >&"$words"
wait "$writer"
note "$(cat written)"
wait_equal a b
expect "cuts" 1,1 "$(tell_link near stats | json cut),$(tell_link far stats | json cut)"
expect "snapshots that b installed" 1 "$(metric b snapshots_installed_total)"
expect "snapshots that went on" 2 "$(metric a snapshots_resumed_total)"
expect "dots that marks had lied about" 0 "$(metric b dots_repaired_total)"
expect_between "keys on b" "$keys" $((keys + 10)) "$(resp b dbsize)"
# To the disk it comes behind that.
wait_until has_row
# A sanitizer's memory is another.
if [ -z "$TALLY_SLOW" ]; then
    figure() {
        sed -n "s/.*\b$1=\([0-9]*\).*/\1/p" written
    }
    expect_between "how much the source grew, kB" -100000 8192 $(($(figure most_kb) - $(figure warm_kb)))
fi
