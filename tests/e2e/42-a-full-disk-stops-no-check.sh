#!/usr/bin/env bash
# The disk fills up: checks go on, readyz and the log say what and what to do, and once there is space all is stored after all.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli redis-benchmark
# A disk of 2 MB that nobody else sees, and that goes with this scene.
if [ "${TALLY_OWN_MOUNTS:-}" != 1 ]; then
    unshare --mount true 2>/dev/null || skip "no mounts of one's own here"
    trap - EXIT
    TALLY_OWN_MOUNTS=1 exec unshare --mount bash "$0"
fi
mkdir -p a/data
mount -t tmpfs -o size=2m tally a/data 2>/dev/null || skip "cannot mount a small disk here"

is_failing() {
    [ "$(metric a store_failing)" = "$1" ]
}

# What a snapshot that did not fit gives back is taken, too.
fill_disk() {
    dd if=/dev/zero of=a/data/ballast bs=1k oflag=append conv=notrunc status=none 2>/dev/null || true
}

# It fails, and goes on to: the node tries again ten times a second.
is_stuck() {
    local look
    for look in {1..25}; do
        fill_disk
        is_failing 1 || return "$look"
        moment
    done
}

# One more is counted, and not answered.
meanwhile=0
waits_for_the_disk() {
    fill_disk
    meanwhile=$((meanwhile + 1))
    status=0
    timeout 1 redis-cli -p "${resp_port[a]}" incr always:meanwhile </dev/null || status=$?
    [ "$status" -eq 124 ]
}

check_once() {
    http a /v1/check -d "{\"key\":\"$1\",\"rate\":\"5/m\"}" -o /dev/null -w '%{http_code}'
}

for fsync in interval always; do
    start_node a -o fsync="$fsync" -o compact_min=64k
    expect "incr" 1 "$(resp a incr "$fsync:before")"
    fill_disk
    # It never ends: without writes there would be nothing that does not fit.
    redis-benchmark -p "${resp_port[a]}" -l -c 4 -r 20000 -P 16 -q incr ctr:__rand_int__ >benchmark.out 2>&1 &
    load=$!
    helpers+=("$load")
    wait_until is_stuck
    expect "readyz" 503 "$(http_status a /readyz)"
    expect_like "what it says" "store: .*No space left on device.*free space" "$(http a /readyz)"
    expect "a check all the same, fsync=$fsync" 200 "$(check_once "$fsync")"
    expect "a read all the same" 1 "$(resp a get "$fsync:before")"
    if [ "$fsync" = always ]; then
        wait_until waits_for_the_disk
    else
        meanwhile=1
        expect "a write all the same" 1 "$(resp a incr interval:meanwhile)"
    fi
    kill "$load"
    wait "$load" || true
    rm a/data/ballast
    wait_until is_failing 0
    expect "incr" 2 "$(resp a incr "$fsync:before")"
    expect "readyz" 200 "$(http_status a /readyz)"
    kill_node a
    start_node a
    expect "what was counted before" 2 "$(resp a get "$fsync:before")"
    expect "what was counted meanwhile" "$meanwhile" "$(resp a get "$fsync:meanwhile")"
    meanwhile=0
    stop_node a
    expect_status 0 "$tallyctl" store check a/data
done

# --- files may not be longer than they are (ulimit -f): that ends no process ---

start_node a -o fsync=interval
expect "incr" 1 "$(resp a incr ctr:limited)"
prlimit --pid "${pid[a]}" --fsize=1:unlimited
expect "incr" 2 "$(resp a incr ctr:limited)"
wait_until is_failing 1
expect_like "what it says" "store: .*File too large" "$(http a /readyz)"
expect_status 1 ctl a doctor
expect_like "the doctor" 'wrong: .*File too large' "$output"
expect "a check all the same" 200 "$(check_once limited)"
prlimit --pid "${pid[a]}" --fsize=unlimited:unlimited
wait_until is_failing 0
kill_node a
start_node a
expect "what was counted meanwhile" 2 "$(resp a get ctr:limited)"
stop_node a

# --- full at the start: what the clean stop left for that gives room to take its mark away ---

says_full() {
    wait_until is_failing 1
    expect "readyz" 503 "$(http_status a /readyz)"
    expect_like "what it says" "store: .*No space left on device.*free space" "$(http a /readyz)"
    expect "a check all the same" 200 "$(check_once "$1")"
}

start_node a
expect "incr" 3 "$(resp a incr always:before)"
before=$(life a)
stop_node a
fill_disk
start_node a
expect "the life goes on" "$before" "$(life a)"
expect "what was there" 3 "$(resp a get always:before)"
expect "a check all the same" 200 "$(check_once "starved")"
kill_node a

# After a kill there is no mark, and nothing left: a life begins that only itself knows of until there is space.
fill_disk
start_node a
says_full killed
expect_logged a "No space left on device: free space there.*starts all the same"
expect_unlike "the life" "^$before\$" "$(life a)"
expect "what was there" 3 "$(resp a get always:before)"
expect "a write all the same" 4 "$(resp a incr always:before)"
# A small batch fits into what the log's last block has left: that does not make it well.
says_full still
rm a/data/ballast
wait_until is_failing 0
expect "readyz" 200 "$(http_status a /readyz)"
expect "incr" 5 "$(resp a incr always:before)"
kill_node a
start_node a
expect "what was counted" 5 "$(resp a get always:before)"
stop_node a
expect_status 0 "$tallyctl" store check a/data

# --- there is space for the log and none for a snapshot ---

last_was_given_up() {
    ctl a doctor >said.txt && return 1
    grep -q '^wrong: the last snapshot was given up' said.txt
}

rm -r a/data/*
start_node a
for i in {1..200}; do
    echo "set kv:$i $(head -c 3000 /dev/urandom | base64 -w 0)"
done | redis-cli -p "${resp_port[a]}" >/dev/null
stop_node a
dd if=/dev/zero of=a/data/ballast bs=1k count=800 status=none
start_node a -o compact_min=64k
wait_until last_was_given_up
expect "readyz" 200 "$(http_status a /readyz)"
rm a/data/ballast
wait_until ctl a doctor
expect "snapshots" 1 "$(metric a store_snapshots_total)"
stop_node a

# --- read-only ---

mount -o remount,ro a/data
expect_status 1 timeout 20 "$tallyd" -o name=a -o data="$PWD/a/data" -o resp=none -o http=none -o peers=none
expect_like "what it says" "Read-only file system.*mount it writable" "$output"
