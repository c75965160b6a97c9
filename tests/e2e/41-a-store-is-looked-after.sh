#!/usr/bin/env bash
# tallyctl on a stopped node's directory: check, dump, compact, repair; a backup of a running node, restored elsewhere; and what the
# messages say when a directory cannot be used.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli redis-benchmark

start_node a
redis-benchmark -p "${resp_port[a]}" -n 20000 -r 500 -P 16 -q incr ctr:__rand_int__ >benchmark.out
expect "set" OK "$(resp a set kv:k "a text")"
expect "del" 1 "$(resp a del kv:k)"
expect "set" OK "$(resp a set kv:k "another text")"
total=$(resp a get ctr:000000000007)

# --- a running node is in nobody else's hands ---

for verb in check dump repair compact; do
    expect_status 1 "$tallyctl" store "$verb" a/data
    expect_like "whose it is" "${pid[a]}" "$output"
done

# --- a backup, restored as another node ---

expect_status 0 "$tallyctl" -s "http://127.0.0.1:${http_port[a]}" backup saved
expect "who may read it" 600 "$(stat -c %a saved)"
expect "what is left of writing it" '' "$(find . -maxdepth 1 -name '*.part')"
expect_status 0 "$tallyctl" restore saved b/data
expect_status 1 "$tallyctl" restore saved b/data
expect_like "why not" "not empty" "$output"
start_node b
expect "the counter, restored" "$total" "$(resp b get ctr:000000000007)"
expect "the text, restored" "another text" "$(resp b get kv:k)"
stop_node b
head -c 1000 saved >cut-off
expect_status 1 "$tallyctl" restore cut-off c/data
expect "nothing was made of half a file" no "$([ -e c/data/MANIFEST ] && echo yes || echo no)"

# --- prefixes that were registered are in no backup: restore says so before a node does not start ---

start_node d
expect_status 0 ctl d prefix register user: lww
expect "set" OK "$(resp d set user:1 one)"
expect_status 0 ctl d backup of-users
expect_status 1 "$tallyctl" restore of-users e/data
expect_like "which key" '^tallyctl: of-users: user:1 is of strategy lww, .*prefix register.* apply of-users --store e/data$' "$output"
expect "nothing was made" no "$([ -e e/data ] && echo yes || echo no)"
stop_node d
start_node e
expect_status 0 ctl e prefix register user: lww
stop_node e
expect_status 0 "$tallyctl" apply of-users --store e/data
start_node e
expect "the text, restored" one "$(resp e get user:1)"
stop_node e

# --- an old backup in a live cluster: a new life, and nothing is lost or doubled ---

expect "incr" "$((total + 1))" "$(resp a incr ctr:000000000007)"
start_node b -o join="127.0.0.1:${peers_port[a]}"
wait_equal a b
expect "what was counted after the backup" "$((total + 1))" "$(resp b get ctr:000000000007)"
expect "incr" "$((total + 2))" "$(resp b incr ctr:000000000007)"
wait_equal a b
stop_node b
stop_node a

# --- check, dump, compact ---

expect_status 0 "$tallyctl" store check a/data
expect_like "of the log" "log-[0-9]+.tly .* whole" "$output"
"$tallyctl" export --store a/data -o before 2>/dev/null
dumped=$("$tallyctl" store dump a/data | wc -l)
expect_between "dots in the log" 500 1000000 "$dumped"
expect_status 0 "$tallyctl" store compact a/data
expect_status 0 "$tallyctl" store check a/data
expect_like "of the snapshot" "snap-[0-9]+.tly .* whole" "$output"
expect_between "dots after compaction" 500 "$((dumped - 1))" "$("$tallyctl" store dump a/data | wc -l)"
"$tallyctl" export --store a/data -o after 2>/dev/null
expect_status 0 "$tallyctl" diff before after
expect_status 0 "$tallyctl" diff after before
start_node a
expect "the counter after compaction" "$((total + 2))" "$(resp a get ctr:000000000007)"
stop_node a

# --- repair ---

snapshot=$(find a/data -name 'snap-*.tly')
size=$(stat -c %s "$snapshot")
printf '\377\376\375\374' | dd of="$snapshot" bs=1 seek=$((size / 2)) conv=notrunc status=none
expect_status 1 timeout 20 "$tallyd" -o name=a -o data="$PWD/a/data" -o resp=none -o http=none -o peers=none
expect_like "which" "$(basename "$snapshot")" "$output"
expect_like "what to do" "tallyctl store repair" "$output"
expect_status 1 "$tallyctl" store check a/data
expect_like "where" "DAMAGED at byte [0-9]+" "$output"
expect_status 0 "$tallyctl" store repair a/data
expect_like "what was lost" "[0-9]+ of $size bytes lost" "$output"
expect "the damaged file" yes "$([ -e "a/data/damaged-$(basename "$snapshot")" ] && echo yes)"
expect_status 0 "$tallyctl" store check a/data
start_node b
start_node a -o join="127.0.0.1:${peers_port[b]}"
wait_equal a b
expect "the counter, from the peer" "$((total + 2))" "$(resp a get ctr:000000000007)"
stop_node a
expect_status 0 "$tallyctl" store repair a/data
expect_like "that there is nothing to do" "nothing is damaged" "$output"

# --- damage anywhere ---

write_six() {
    local i
    for i in 1 2 3; do
        expect "set" OK "$(resp d set "kv:$1:$i" "text $i")"
        expect "incr" 1 "$(resp d incr "ctr:$1:$i")"
    done
}

start_node d
write_six before
stop_node d
expect_status 0 "$tallyctl" store compact d/data
start_node d
write_six behind
stop_node d
every=${TALLY_DAMAGE_EVERY:-24}
python damage.py "$tallyctl" d/data "$every" $((100 / every + 1))

# --- what a killed node left beside its log is read by all ---

failing() {
    [ "$(metric "$1" store_failing)" -eq 1 ]
}
refuses_in[g]=$PWD/g.refuses
start_node g
expect "set" OK "$(resp g set kv:logged x)"
: >g.refuses
expect "set" OK "$(resp g set kv:refused x)"
wait_until failing g
expect "set" OK "$(resp g set kv:beside x)"
kill_node g
rm g.refuses
expect_status 0 "$tallyctl" store check g/data
expect_like "what it says of it" "recent .* left by a crash" "$output"
expect_status 0 "$tallyctl" explain kv:beside --store "$PWD/g/data"
expect_like "the dot beside the log" "kv:beside" "$output"
expect_status 0 "$tallyctl" backup beside.saved --store g/data
expect_status 0 "$tallyctl" restore beside.saved f/data
start_node f
expect "in the backup" x "$(resp f get kv:beside)"
stop_node f
cp -r g/data hurt
printf '\377\376\375\374' | dd of="$(find hurt -name 'log-*.tly' | head -n 1)" bs=1 seek=60 conv=notrunc status=none
expect_status 0 "$tallyctl" store repair hurt
expect_like "that it was damaged" "bytes lost" "$output"
expect_like "after the repair" "kv:beside" "$("$tallyctl" store dump hurt)"
start_node g
expect "by the node" x "$(resp g get kv:beside)"
stop_node g
expect_status 0 "$tallyctl" store check g/data
expect_unlike "after a clean stop" "recent" "$output"

# --- what cannot be used says why and what to do ---

# As somebody whom permissions bind: root is whom they do not, unless it gives that up.
bound=()
[ "$(id -u)" -ne 0 ] || bound=(setpriv "--bounding-set=-dac_override,-dac_read_search")

refuse() {
    expect_status 1 timeout 20 "${bound[@]}" "$tallyd" -o name=c -o data="$1" -o resp=none -o http=none -o peers=none
    expect_like "what it says of $1" "$2" "$output"
}

echo text >file
refuse "$PWD/file" "give a directory as data"
mkdir -m 0 closed
refuse "$PWD/closed" "Permission denied: let the user"
