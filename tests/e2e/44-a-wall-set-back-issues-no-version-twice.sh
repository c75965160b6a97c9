#!/usr/bin/env bash
# Counting nodes are killed, and each starts again with its wall clock set back: no version is issued twice, all is counted once.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

names=(a b c)
kills=${TALLY_KILLS:-8}
# Reading a log takes time in proportion to the lives that counted.
[ "$kills" -le 50 ] || patience_s=120
seed=${TALLY_SEED:-$RANDOM}
RANDOM=$seed
echo "seed $seed: TALLY_SEED=$seed makes the same choices"
declare -A killed_ms=()

commands() {
    [ "$(metric "$1" resp_commands_total)" -ge "$2" ]
}

# What its own log says was the time when it was up.
up_ms() {
    date -d "$(grep ' is up as ' "$1/log" | tail -n 1 | cut -d' ' -f1)" +%s%3N
}

# falls NAME how: ends it, killed or stopped.
falls() {
    "$2" "$1"
    killed_ms[$1]=$(($(now_ms) - wall_back_ms[$1]))
}

# Its wall is now behind what it was when it fell, by up to four seconds: the lease of a clock is about as long.
rises() {
    local others=() name began
    for name in "${names[@]}"; do [ "$name" = "$1" ] || others+=("$name"); done
    began=$(now_ms)
    wall_back_ms[$1]=$((began - killed_ms[$1] + 50 + RANDOM % 4000))
    start_node "$1" -o join="$(addresses "${others[@]}")"
    http "$1" /v1/cluster | json origin >>"$1/lives"
    expect_between "the wall of $1" $((began - wall_back_ms[$1])) $(($(now_ms) - wall_back_ms[$1])) "$(up_ms "$1")"
    expect_between "the wall of $1, beside what it was" 1 4050 $((killed_ms[$1] - began + wall_back_ms[$1]))
}

for name in "${names[@]}"; do wall_back_ms[$name]=0; done
start_cluster "${names[@]}"
for name in "${names[@]}"; do http "$name" /v1/cluster | json origin >"$name/lives"; done
count_on --seconds 12000 --keys 100 --within $((within_s * 5)) --patience 60 \
    "${resp_port[a]}:${http_port[a]}" "${resp_port[b]}:${http_port[b]}" "${resp_port[c]}:${http_port[c]}"

killed=0 stopped=0 falls=0
while [ "$killed" -lt "$kills" ]; do
    name=${names[RANDOM % 3]}
    wait_until commands "$name" $((RANDOM % 200 + 1))
    falls=$((falls + 1))
    case $((falls % 6)) in
    2)
        # A life that goes on has versions of its own to repeat.
        falls "$name" stop_node
        rises "$name"
        stopped=$((stopped + 1))
        ;;
    5)
        for name in "${names[@]}"; do falls "$name" kill_node; done
        for name in "${names[@]}"; do rises "$name"; done
        killed=$((killed + 3))
        ;;
    *)
        falls "$name" kill_node
        rises "$name"
        killed=$((killed + 1))
        ;;
    esac
done
for name in "${names[@]}"; do wait_until commands "$name" 200; done
counted_enough
for name in "${names[@]}"; do wait_until sees "$name" 2; done
wait_equal "${names[@]}"

for name in "${names[@]}"; do
    stop_node "$name"
    "$tallyctl" store dump "$name/data" >"$name/dots"
done
note "$killed kills and $stopped stops; walls set back by $((wall_back_ms[a] / 1000)), $((wall_back_ms[b] / 1000)) and \
$((wall_back_ms[c] / 1000)) s in all"
versions=$(python versions.py $((killed * 10)) a b c) || fail "$versions"
note "$versions"
