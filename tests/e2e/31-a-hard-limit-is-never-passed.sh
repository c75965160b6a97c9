#!/usr/bin/env bash
# Three nodes, a hard limit of 1000 per 10 s, two clients at each as fast as they can, while links are cut and one node is killed: no window
# ever admits 1001, and all of them admit.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

cat >tally.yaml <<'END'
limits:
  - name: hard
    key: who
    rate: 1000/10s
    algorithm: fixed_window
    mode: hard
END

# Whoever is dialled is dialled over a link. The first start is for its port, which it keeps.
for name in a b c; do
    start_node "$name"
    stop_node "$name"
    rm -rf "$name/data"
    start_link "to_$name" "127.0.0.1:${peers_port[$name]}"
done
all=${over[to_a]},${over[to_b]},${over[to_c]}
for name in a b c; do start_node "$name" -f "$PWD/tally.yaml" -o advertise="${over[to_$name]}" -o join="$all"; done
for name in a b c; do wait_until sees "$name" 2; done

share() {
    http "$1" /v1/limits/hard | json inputs.share
}
holds_some() {
    [ "$(share "$1")" -gt 0 ]
}
for name in a b c; do wait_until holds_some "$name"; done

python3 "$TALLY_E2E/hard.py" 1000 10000 3 "${http_port[a]}" "${http_port[b]}" "${http_port[c]}" >hard.out 2>&1 &
hammer=$!
helpers+=("$hammer")

# Whether it has said more than so many lines.
has_said() {
    [ "$(grep -c ^admitted hard.out)" -gt "$1" ]
}
# It says how much when it is asked.
admitted() {
    local lines
    lines=$(grep -c ^admitted hard.out || true)
    kill -USR1 "$hammer"
    wait_until has_said "$lines"
    tail -n 1 hard.out | awk '/^admitted/ { print $2 }'
}
has_admitted() {
    [ "$(admitted)" -ge "$1" ]
}
# Until so many more were admitted.
admits() {
    local from
    from=$(admitted)
    wait_until has_admitted $((from + $1))
}

wait_until has_said 0
admits 50
for name in a b c; do
    expect "cut to $name" ok "$(tell_link "to_$name" 'cut rst')"
    admits 20
done
# Nobody reaches c, which counts what it holds, and the others what they do; then it is killed.
for name in a b c; do expect "clog to $name" ok "$(tell_link "to_$name" clog)"; done
admits 20
for name in a b c; do
    expect "release to $name" ok "$(tell_link "to_$name" release)"
    expect "cut to $name" ok "$(tell_link "to_$name" 'cut fin')"
done
kill_node c
admits 20
start_node c -f "$PWD/tally.yaml" -o advertise="${over[to_c]}" -o join="$all"
for name in a b c; do wait_until sees "$name" 2; done
admits 100

kill -TERM "$hammer"
result=0
wait "$hammer" || result=$?
grep -v ^admitted hard.out
expect "status of what asks" 0 "$result"
output=$(ctl a limit show hard)
note "$output"
expect_like "the bound" 'bound now +0 units' "$output"
expect_like "the rights" 'rights +in use' "$output"
