#!/usr/bin/env bash
# tally-link: rate, delay, queue, cuts, clogs and mistakes, byte by byte; and two nodes that meet over it and agree after cuts.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

python link.py "$TALLY_BUILD/tally-link"

# b dials a over the link, and learns no other way to it; a cannot dial b, for b has no door. The first start of a is for its
# port, which it keeps.
start_node a
stop_node a
mkfifo ready
"$TALLY_BUILD/tally-link" -r 1M -d 5ms "127.0.0.1:0=127.0.0.1:${peers_port[a]}" >ready &
link=$!
helpers+=("$link")
exec {said}<ready
read -r line <&"$said"
[[ $line =~ ^ready\ 127.0.0.1:([0-9]+)= ]] || fail "tally-link says: $line"
over_link=127.0.0.1:${BASH_REMATCH[1]}
start_node a -o advertise="$over_link"
start_node b -o peers=none -o join="$over_link"
wait_until sees a 1

met() {
    [ "$(metric a sessions_up_total)" -ge "$1" ]
}

for i in 1 2 3; do
    for key in $(seq 100); do echo "INCR k$key"; done | redis-cli -p "${resp_port[a]}" >/dev/null
    for key in $(seq 100); do echo "INCR k$key"; done | redis-cli -p "${resp_port[b]}" >/dev/null
    kill -USR2 "$link"
    wait_until met $((i + 1))
    wait_equal a b
    expect "k1 on a after $i cuts" $((2 * i)) "$(resp a get k1)"
    expect "k100 on b after $i cuts" $((2 * i)) "$(resp b get k100)"
done

kill -TERM "$link"
read -r line <&"$said"
expect_like 'statistics of the link' '"up_bytes":[1-9][0-9]*,"down_bytes":[1-9][0-9]*,.*"cut":3' "$line"
