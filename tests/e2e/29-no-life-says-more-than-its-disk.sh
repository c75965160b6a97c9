#!/usr/bin/env bash
# A node goes on with its life after a clean stop only: not with an older disk, not twice after one stop.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli

# goes_on NAME OTHER LIFE: the other one has it announced, which it is not while it is in question.
goes_on() {
    http "$1" /v1/peers | grep -Eq '"state" *: *"alive"' && [ "$(life "$2")" = "$3" ]
}

# What a snapshot of the file system puts back: all as it was then, and LOCK the same file.
put_back() {
    find b/data -type f ! -name LOCK -delete
    (cd "$1" && tar -cf - --exclude LOCK .) | tar -xf - -C b/data
}

start_cluster a b
expect "incr" 5 "$(resp b incrby both 5)"
expect "set" OK "$(resp b set kv:k old)"
wait_equal a b
first=$(life b)
stop_node b
cp -a b/data old

# --- the newest disk ---

start_node b -o join="$(addresses a)"
wait_until sees b 1
wait_until goes_on a b "$first"
expect "incr" 7 "$(resp b incrby both 2)"
expect "incr" 3 "$(resp b incrby later 3)"
expect "set" OK "$(resp b set kv:k new)"
wait_equal a b
stop_node b

# --- an older one, with a right clock and the mark of a clean stop ---

put_back "$PWD/old"
freeze_node a
start_node b -o join="$(addresses a)"
expect "what is counted before a can be asked" 15 "$(resp b incrby both 10)"
thaw_node a
wait_until sees b 1
wait_equal a b
expect_unlike "the life" "^$first\$" "$(life b)"
expect_logged b 'new life.*knows more of this life'
for node in a b; do
    expect "what was counted before, after and since, on $node" 17 "$(resp "$node" get both)"
    expect "what the disk lacks, on $node" 3 "$(resp "$node" get later)"
    expect "the text on $node" new "$(resp "$node" get kv:k)"
done
second=$(life b)

# --- the mark is spent: a stop, a start that is killed at once, another start ---

stop_node b
start_node b -o join="$(addresses a)"
# A life that was begun while running is in no MANIFEST: after the stop another one begins.
third=$(life b)
expect_unlike "the life after one that began while running" "^($first|$second)\$" "$third"
stop_node b
start_node b -o join="$(addresses a)"
wait_until goes_on a b "$third"
stop_node b
start_node b -o join="$(addresses a)"
kill_node b
start_node b -o join="$(addresses a)"
expect_unlike "the life after a start that was killed" "^$third\$" "$(life b)"
expect "incr" 18 "$(resp b incr both)"
wait_equal a b
expect "on a" 18 "$(resp a get both)"

# --- the same, killed a millisecond after the start, and at the moment when the mark is spent ---

is_spent() {
    ! cmp -s b/data/MANIFEST stopped
}

total=18
for after in 0.001 0.02 0.05 spending; do
    stop_node b
    start_node b -o join="$(addresses a)"
    before=$(life b)
    wait_until goes_on a b "$before"
    stop_node b
    cp b/data/MANIFEST stopped
    launch b -o join="$(addresses a)"
    if [ "$after" = spending ]; then wait_until is_spent; else read -rt "$after" -u "$never" || true; fi
    kill_node b
    mark=whole
    ! is_spent || mark=spent
    start_node b -o join="$(addresses a)"
    if [ "$mark" = spent ]; then
        expect_unlike "the life after a start that spent the mark" "^$before\$" "$(life b)"
    else
        wait_until goes_on a b "$before"
    fi
    total=$((total + 1))
    expect "incr" "$total" "$(resp b incr both)"
    wait_equal a b
    expect "on a" "$total" "$(resp a get both)"
    note "killed (after $after): the mark was $mark"
done
expect "the mark, at the end" spent "$mark"
