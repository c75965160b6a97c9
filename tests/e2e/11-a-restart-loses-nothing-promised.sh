#!/usr/bin/env bash
# Clean or killed, a node has after the restart what it acknowledged; a torn end is dropped, damage is not.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli

counted() {
    [ "$(metric a resp_commands_total)" -ge "$1" ]
}

# The newest segment of the log of a.
segment() {
    find a/data -name 'log-*.tly' -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2-
}

# --- a clean stop ---

start_node a
for value in 1 2 3; do expect "incr" "$value" "$(resp a incr hits)"; done
expect "set" OK "$(resp a set kv:k text)"
expect "delete" 1 "$(resp a del hits)"
expect "incr" 1 "$(resp a incr hits)"
before=$(life a)
stop_node a
start_node a
expect "the counter" 1 "$(resp a get hits)"
expect "the text" text "$(resp a get kv:k)"
expect "the life goes on" "$before" "$(life a)"

# --- killed, at once after an answer and under load ---

for fsync in interval always never; do
    key=killed:$fsync
    expect "incr" 5 "$(resp a incrby "$key" 5)"
    kill_node a
    start_node a -o fsync="$fsync"
    expect "$key" 5 "$(resp a get "$key")"
done
expect_unlike "the life after a kill" "^$before\$" "$(life a)"
expect "a new life adds to the old one's count" 6 "$(resp a incr killed:always)"
expect "incr, with fsync=never" 7 "$(resp a incr killed:always)"
kill_node a
for fsync in always interval; do
    start_node a -o fsync="$fsync"
    count_on --seconds 600 --prefix "$fsync:" "${resp_port[a]}:${http_port[a]}"
    wait_until counted 3000
    kill_node a
    start_node a -o fsync="$fsync"
    wait_until counted 3000
    counted_enough
    kill_node a
done

# --- one directory, one daemon ---

start_node a
expect_status 1 "$tallyd" -o name=a -o data="$PWD/a/data" -o resp=none -o http=none -o peers=none
expect_like "whose it is" "(^|[^0-9])${pid[a]}([^0-9]|\$)" "$output"
expect "the first is not disturbed" 7 "$(resp a get killed:always)"

# --- a torn end ---

expect "incr" 1 "$(resp a incr whole)"
expect "incr" 1 "$(resp a incr torn)"
log=$(segment)
wait_until grep -aq torn "$log"
kill_node a
expect_between "room behind the log" 4096 $((1 << 21)) $(($(stat -c %s "$log") - $(written "$log")))
expect_status 0 "$tallyctl" store check a/data
expect_unlike "a log that was only killed" "torn|DAMAGED" "$output"
tear "$log" 1
expect_status 0 "$tallyctl" store check a/data
expect_like "the torn end" "$(basename "$log") .*torn at byte" "$output"
start_node a
expect_logged a "data: .*$(basename "$log")"
expect "what stood before the torn end" 1 "$(resp a get whole)"
expect "what was torn" '' "$(resp a get torn)"
expect "incr" 1 "$(resp a incr torn)"
kill_node a
start_node a
expect "what was counted after the torn end was cut off" 1 "$(resp a get torn)"
stop_node a

# --- damage ---

log=$(find a/data -name 'log-*.tly' -size +1k | sort | head -n 1)
size=$(stat -c %s "$log")
printf '\377\376\375\374\373\372\371\370' | dd of="$log" bs=1 seek=$((size / 2)) conv=notrunc status=none
expect_status 1 timeout 20 "$tallyd" -o name=a -o data="$PWD/a/data" -o resp=none -o http=none -o peers=none
expect_like "the damaged file" "$(basename "$log")" "$output"
expect_like "and the place" '[0-9]{3,}' "${output//$(basename "$log")/}"
