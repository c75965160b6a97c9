#!/usr/bin/env bash
# A directory of format 1 opens with all that was in it; one of a newer format is refused untouched, by tallyctl too; one that was moved works.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli

# put_old NAME: it has the directory as the earlier release left it.
put_old() {
    mkdir -p "$1/data"
    cp "$TALLY_E2E"/store-format-1/{MANIFEST,log-1.tly} "$1/data"
    : >"$1/data/LOCK"
}

# holds_the_same A B: two exports.
holds_the_same() {
    expect_status 0 "$tallyctl" diff "$1" "$2"
    expect_status 0 "$tallyctl" diff "$2" "$1"
}

# sums_of DIR: its files, byte for byte.
sums_of() {
    (cd "$1" && find . -type f -size +0 -exec sha256sum {} + | sort -k 2)
}

read_all() {
    resp "$1" mget hits:1 hits:2 hits:3 hits:8 counter kv:text kv:gone em:a | tr '\n' ' '
}

# --- an older one ---

was=$TALLY_E2E/store-format-1/export.tly
put_old a
expect_status 0 "$tallyctl" store check a/data
expect_like "the log" "log-1.tly .* whole" "$output"
"$tallyctl" export --store a/data -o before 2>/dev/null
holds_the_same "$was" before
start_node a
expect "what it reads" "44 2 1 1 8 another text  4702111234474983746:4702111234474983745 " "$(read_all a)"
expect_between "the deadline" 1 1000000000 "$(resp a ttl counter)"
expect "incr" 45 "$(resp a incr hits:1)"
kill_node a
start_node a
expect "incr, after a kill" 46 "$(resp a incr hits:1)"
stop_node a
expect_status 0 "$tallyctl" store compact a/data
start_node a
expect "what it reads as a snapshot" "46 2 1 1 8 another text  4702111234474983746:4702111234474983745 " "$(read_all a)"
stop_node a

# --- beside one that was there before ---

start_node b
start_node a -o join="$(addresses b)"
wait_equal a b
expect "what was counted with the earlier release, elsewhere" 46 "$(resp b get hits:1)"
stop_node a
stop_node b

# --- one that was moved, and nothing is written outside ---

mv a/data moved
: >marker
mkdir c
ln -s "$PWD/moved" c/data
start_node c -o data="$PWD/moved"
expect "what it reads elsewhere" 46 "$(resp c get hits:1)"
expect "incr" 47 "$(resp c incr hits:1)"
stop_node c
expect "what was written outside" './c/log ./c/out ' "$(find . -newer marker -type f ! -name pids ! -path './moved/*' | sort | tr '\n' ' ')"
expect "what is in the directory" 'LOCK MANIFEST ' "$(cd moved && printf '%s\n' [A-Z]* | tr '\n' ' ')"

# --- newer ones ---

# refuses NAME WORDS: and leaves every byte as it was.
refuses() {
    local before
    before=$(sums_of "$1/data")
    expect_status 1 timeout 20 "$tallyd" -o name="$1" -o data="$PWD/$1/data" -o resp=none -o http=none -o peers=none
    expect_like "what it says of $1" "$2" "$output"
    expect_like "what it says of $1" "newer" "$output"
    expect "the files of $1" "$before" "$(sums_of "$1/data" | grep -v ' ./LOCK$')"
}

put_old d
printf '\003' | dd of=d/data/log-1.tly bs=1 seek=10 conv=notrunc status=none
refuses d "log-1.tly"
sums=$(sums_of d/data | grep -v ' ./LOCK$')
for words in "store check d/data" "store dump d/data" "store compact d/data" "store repair d/data" "explain --store d/data hits:1"; do
    # shellcheck disable=SC2086  # words
    expect_status 1 "$tallyctl" $words
    expect_like "tallyctl $words" "log-1.tly.* newer format" "$output"
    expect_unlike "tallyctl $words" "DAMAGED|repair" "$output"
    expect "the files after tallyctl $words" "$sums" "$(sums_of d/data | grep -v ' ./LOCK$')"
done
put_old e
cp "$TALLY_E2E/store-newer/MANIFEST" e/data
refuses e "MANIFEST"

# --- a strategy that is to come ---

mkdir -p f/data
cp "$TALLY_E2E/store-newer/MANIFEST-strategy" f/data/MANIFEST
: >f/data/LOCK
sums=$(sums_of f/data)
"$tallyctl" export --store moved -o export 2>/dev/null
for words in "tallyctl store compact f/data" "tallyctl store repair f/data" "tallyctl apply export --store f/data" \
    "tallyctl export --store f/data -o out" "tallyd -o name=f -o data=$PWD/f/data -o resp=none -o http=none -o peers=none"; do
    # shellcheck disable=SC2086  # words
    expect_status 1 timeout 20 "$TALLY_BUILD"/$words
    expect_like "$words" "strategy that this [a-z]* does not know.*version that registered it" "$output"
    expect "the files after $words" "$sums" "$(sums_of f/data | grep -v ' ./LOCK$')"
done
