#!/usr/bin/env bash
# tallyctl shows a node, counts, checks with a status for scripts, folds histories; --json is JSON.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

# json_of FIELD COMMAND...: one line, which parses.
json_of() {
    local field=$1 text
    shift
    text=$("$@")
    expect "lines of $*" 1 "$(wc -l <<<"$text")"
    json "$field" <<<"$text"
}

cat >tally.yaml <<'END'
limits:
  - name: api
    key: tenant
    rate: 2/300d
    algorithm: fixed_window
  - name: jobs
    key: [tenant]
    rate: 3/1h
    algorithm: concurrency
  - name: seats
    algorithm: counter
    max: 4
    min: -2
  - name: stock
    key: [item]
    algorithm: counter
    max: 4
    mode: hard
  - name: year
    rate: 9/y
    algorithm: quota
    mode: hard
END
start_cluster a b -- -f "$PWD/tally.yaml"

expect_status 0 ctl a status
expect_like "status" $'(^|\n)name +a\n.*peers +1 of 1 up' "$output"
expect "status --json" a "$(json_of name ctl a --json status)"
# They are still founding the rights of hard limits.
says_the_digest() {
    [ "$(json_of digest ctl a status --digest --json)" = "$(digest b)" ]
}
wait_until says_the_digest
expect_status 0 ctl a peers
expect_like "peers" $'NAME .*\nb +127\\.0\\.0\\.1:'"${peers_port[b]}"' +up, ' "$output"
expect "peers --json" b "$(json_of 0.name ctl a --json peers)"

expect_status 0 ctl a incr visits
expect "incr" 1 "$output"
expect_status 0 ctl a incr visits -11
expect "incr by a negative number" -10 "$output"
expect "incr --json" -5 "$(json_of value ctl a incr --json visits 5)"
wait_equal a b
expect_status 0 ctl b get visits
expect "get" -5 "$output"
expect "get --json" -5 "$(json_of value ctl b --json get visits)"
expect_status 1 ctl a get nothing
expect_like "get of nothing" '^tallyctl: ' "$output"
http a /v1/counters/em:e -d '{"epoch":6,"count":0}' >em.out
expect_status 0 ctl a get em:e
expect "get of epoch and count" 'epoch 6 count 0' "$output"
expect_status 0 ctl a incr 'odd/key ?&%'
expect_status 0 ctl a get 'odd/key ?&%'
expect "a key with odd bytes" 1 "$output"

expect_status 0 ctl a check api tenant=t1
expect_like "admitted" '^admitted: 1 of 2 left' "$output"
expect_status 0 ctl a check api tenant=t1 --hits 0
expect_like "nothing is counted by 0 hits" '1 of 2 left' "$output"
expect_status 0 ctl a check api tenant=t1
expect_status 1 ctl a check api tenant=t1
expect_like "refused" '^refused: 0 of 2 left, retry after ' "$output"
expect "check --json" over "$( (ctl a --json check api tenant=t1 || true) | json code)"
expect_status 0 ctl a check --key k --rate 1/300d --algorithm fixed_window
expect_status 1 ctl a check --key k --rate 1/300d --algorithm fixed_window
expect_status 1 ctl a check --key many --rate 5/300d --hits 6
expect_like "what can never pass" 'can never pass' "$output"
expect_status 0 ctl a limit list
expect_like "the limits" $'\napi +2 .*\njobs +3 +at once .*\nseats +4 +- .*\nstock +4 .*\nyear +9 +year, UTC +quota +hard +-$' "$output"
expect_status 0 ctl a limit show api
expect_like "how hard a limit is" 'bound now +[0-9]+ units' "$output"
expect "a limit as JSON" 2 "$(ctl a --json limit show api | json limit)"
expect_status 1 ctl a limit show nosuch

# What is known later, or in flight, is reserved and settled; what was counted is given back, or forgotten.
some=(--key some --rate 5/300d)
expect_status 0 ctl a reserve "${some[@]}" --hits 3 --ttl 5m --id r1
expect_like "reserved" '^r1: open, 3 units until 20' "$output"
expect_status 0 ctl a reserve "${some[@]}" --hits 3 --id r1
expect_status 1 ctl a reserve "${some[@]}" --hits 3
expect_like "refused, and why" $'^refused: 2 of 5 left.*\n  3 used .*\\+ 3 hits of 5$' "$output"
expect_status 0 ctl a commit r1 2
expect "committed" 'r1: committed, 2 units' "$output"
expect_status 0 ctl a cancel r1
expect "settled once" 'r1: committed, 2 units' "$output"
expect_status 1 ctl a cancel nosuch
expect_status 0 ctl a refund "${some[@]}" --hits 1
expect "given back" 'given back: 1; 4 of 5 left' "$output"
expect_status 0 ctl a reset "${some[@]}"
expect_status 0 ctl a check "${some[@]}" --hits 0
expect_like "forgotten" '^admitted: 5 of 5 left' "$output"
expect "an id of its own" open "$(ctl a --json acquire jobs tenant=t1 --ttl 1h | json state)"
expect_status 0 ctl a acquire jobs tenant=t1 --hits 2 --id l1
expect_status 1 ctl a acquire jobs tenant=t1
expect_like "in flight" $'^refused: 0 of 3 left.*\n  3 in flight' "$output"
expect_status 0 ctl a release l1
expect_status 0 ctl a acquire jobs tenant=t1 --hits 2
expect_status 0 ctl a check seats --hits 4
expect_status 1 ctl a check seats
expect_like "a counter comes back by refunds alone" 'until some are given back' "$output"
expect_status 0 ctl a refund seats --hits 9
expect_like "down to its least" '^given back: 6; ' "$output"
expect_status 2 ctl a acquire jobs --ttl 5x
expect_status 2 ctl a acquire jobs --rate 5/s
expect_status 2 ctl a commit r1 x
expect_status 2 ctl a commit r1

# A hard counter: who asks first may have to wait for the rights, whichever node it is, and what one took the other gives back.
took() {
    ctl "$1" check stock item=i1 --hits 4 >took.out
}
wait_until took a
expect_status 1 ctl b check stock item=i1
expect_status 0 ctl b why rl:c:stock:i1
expect_like "a rule without a window" $'\n  rule +4, counter, hard\n' "$output"
gave_back=0
gives_back() {
    ctl b --json refund stock item=i1 --hits 4 >back.out || return 1
    gave_back=$((gave_back + $(json refunded <back.out)))
    [ "$gave_back" = 4 ]
}
wait_until gives_back
wait_until took b
expect_status 0 ctl a limit show stock
expect_like "shown" 'from 0 to 4, counter, hard.*bound now +0 units.*up and down' "${output//$'\n'/ }"
expect "not deleted as a key" 403 "$(http_status a /v1/counters/rl:c:stock:i1 -X DELETE)"

# Of a year that has begun nobody holds anything before somebody says that nobody ever did.
founded() {
    [ "$(ctl a --json limit show year | json inputs.founded)" = true ]
}
wait_until founded
expect_status 1 ctl a check year
expect_like "nobody's" 'nobody holds the rights: this window began before there were any' "$output"
expect_status 0 ctl b limit show year
expect_like "shown" "of this window nobody's" "$output"
expect_status 2 ctl a limit claim
expect_status 0 ctl a limit claim --force
expect_status 0 ctl a check year
expect_status 1 ctl a limit claim --force
expect_status 2 ctl a limit
expect_status 2 ctl a limit show
expect_status 1 ctl a check nosuch
expect_like "no such limit" '^tallyctl: ' "$output"

expect_status 2 ctl a check
expect_status 2 ctl a check --key k
expect_status 2 ctl a check api --hits many
expect_status 2 ctl a get
expect_status 2 ctl a incr x y
expect_status 2 ctl a nosuch
expect_status 2 ctl a --nosuch status
expect_status 2 "$tallyctl"
expect_status 0 ctl a help
expect_status 0 ctl a help check
told=$output
for words in 'check --help' '--json check --help' 'check api --hits 0 --help'; do
    # shellcheck disable=SC2086  # words without spaces
    expect_status 0 ctl a $words
    expect "$words" "$told" "$output"
done
expect_like "the version" '^tallyctl [0-9]' "$("$tallyctl" -V)"

expect_status 3 "$tallyctl" -s 127.0.0.1:1 status
expect_like "who cannot be reached" 'cannot reach 127\.0\.0\.1:1: ' "$output"
expect_status 3 "$tallyctl" -s 127.0.0.1:1 check api
expect_status 3 "$tallyctl" -s "http://127.0.0.1:${resp_port[a]}" status
# What says no, and is no tallyd: a proxy before one that is down, say. It has refused nothing.
web_port=$(free_port)
python3 -m http.server --bind 127.0.0.1 "$web_port" >web.out 2>&1 &
web=$!
wait_until curl -s -o web.page "127.0.0.1:$web_port"
expect_status 3 "$tallyctl" -s "127.0.0.1:$web_port" check api
expect_like "who is no tallyd" 'answered with status 501 and no JSON: is it a tallyd' "$output"
expect_status 3 "$tallyctl" -s "127.0.0.1:$web_port" get visits
kill "$web"
expect_status 0 env TALLY_SERVER="127.0.0.1:${http_port[a]}" "$tallyctl" get visits

# Histories.
cat >histories <<'END'
{"id":"m","strategy":"epoch_max","ops":[{"op":"put","ts":7,"origin":4,"epoch":0,"count":2},{"op":"remove","ts":2,"origin":2}]}
{"id":"l","strategy":"lww","ops":[{"op":"put","ts":7,"origin":1,"value":"x"},{"op":"put","ts":9,"origin":2,"value":"y"},{"op":"remove","ts":8,"origin":1}]}
{"id":"r","strategy":"lww","ops":[{"op":"remove","ts":8,"origin":1},{"op":"put","ts":7,"origin":2,"value":"dead"}]}

{"id":"s","strategy":"epoch_sum","ops":[{"op":"put","ts":1,"origin":1,"window":0,"epoch":0,"count":3,"aux":0},{"op":"put","ts":2,"origin":2,"window":0,"epoch":0,"count":4,"aux":0}]}
END
expect_status 0 "$tallyctl" fold histories
printf '%s\n' "$output" >folded
expect "lines folded" 4 "$(wc -l <folded)"
expect "epoch_max reads" '[0, 2]' "$(sed -n 1p folded | json read)"
expect "lww reads" y "$(sed -n 2p folded | json read)"
expect "lww keeps" 1 "$(sed -n 2p folded | json dots | grep -o '"ts"' | wc -l)"
expect "an older put stays dead" null "$(sed -n 3p folded | json read)"
expect "epoch_sum reads" 7 "$(sed -n 4p folded | json read)"
expect "from standard input, the same" "$(cat folded)" "$("$tallyctl" fold - <histories)"
printf '{"id":"x","strategy":"lww","ops":[{"op":"put"}]}\n' >>histories
expect_status 1 "$tallyctl" fold histories
expect_like "which line is wrong" 'line 6: ops\[0\]' "$output"
expect_status 1 "$tallyctl" fold nosuch
expect_status 2 "$tallyctl" fold

# Those that are tested inside too, through the program.
"$tallyctl" fold "$TALLY_E2E/../crdt/vectors.jsonl" >folded
python same_folds.py "$TALLY_E2E/../crdt/vectors.jsonl" folded
