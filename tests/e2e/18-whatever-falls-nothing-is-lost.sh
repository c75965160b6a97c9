#!/usr/bin/env bash
# Nodes are killed, frozen and stopped at random while they count; what was acknowledged is there once, on all of them.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

names=(a b c)
seconds=${TALLY_LONG:+40}
: "${seconds:=8}"
seed=${TALLY_SEED:-$RANDOM}
RANDOM=$seed
echo "seed $seed: TALLY_SEED=$seed makes the same choices"

# A fraction of a second, as chance will have it, in which the load goes on.
interlude() {
    read -rt "0.$((RANDOM % 9 + 1))" -u "$never" || true
}

restart() {
    local others=() name
    for name in "${names[@]}"; do [ "$name" = "$1" ] || others+=("$name"); done
    start_node "$1" -o join="$(addresses "${others[@]}")"
}

has_counted() {
    is_gone "$counter" || grep -q counted count.out
}

start_cluster "${names[@]}"
mkfifo words
python count.py --hold --increments $((seconds * 12000)) --seconds "$seconds" --breaks 1 --within "$((within_s * 5))" --patience 40 \
    "${resp_port[a]}:${http_port[a]}" "${resp_port[b]}:${http_port[b]}" "${resp_port[c]}:${http_port[c]}" <words >count.out 2>&1 &
counter=$!
helpers+=("$counter")
exec {words}>words

declare -A times=([killed]=0 [frozen]=0 [stopped]=0 ["all killed"]=0)
until has_counted; do
    interlude
    name=${names[RANDOM % 3]}
    case $((RANDOM % 6)) in
    0 | 1)
        kill_node "$name"
        interlude
        restart "$name"
        event=killed
        ;;
    2)
        freeze_node "$name"
        interlude
        thaw_node "$name"
        event=frozen
        ;;
    3 | 4)
        stop_node "$name"
        restart "$name"
        event=stopped
        ;;
    5)
        for name in "${names[@]}"; do kill_node "$name"; done
        for name in "${names[@]}"; do restart "$name"; done
        event='all killed'
        ;;
    esac
    times[$event]=$((times[$event] + 1))
done

# All are up again: now they have to agree.
echo compare >&"$words"
result=0
wait "$counter" || result=$?
cat count.out
for event in "${!times[@]}"; do note "$event: ${times[$event]} times"; done
expect "status of the client" 0 "$result"
expect_between "how often something fell" 3 1000 $((times[killed] + times[stopped] + times["all killed"]))
for name in "${names[@]}"; do wait_until sees "$name" 2; done
wait_equal "${names[@]}"
