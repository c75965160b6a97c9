#!/usr/bin/env bash
# A watcher on one node is told what another changes, once, with what a delete leaves; over HTTP and by tallyctl.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli

start_cluster a b
ctl b watch --count 5 kv: >b.out &
helpers+=($!)
watcher=$!
ctl a --json watch --count 2 em: >a.out &
helpers+=($!)
curl -sSN --noproxy '*' "http://127.0.0.1:${http_port[b]}/v1/watch?prefix=visits" >http.out &
helpers+=($!)
curl=$!
wait_until grep -q watching http.out
watchers() {
    [ "$(metric "$1" watchers)" -eq "$2" ]
}
wait_until watchers b 2
wait_until watchers a 1

told() {
    [ "$(wc -l <b.out)" -ge "$1" ]
}
origin=$(http a /v1/cluster | json origin)
expect "set" OK "$(resp a set kv:x one)"
wait_until told 1
expect "the same again" OK "$(resp a set kv:x one)"
expect "set" OK "$(resp a set kv:x two)"
wait_until told 2
expect "del" 1 "$(resp a del kv:x)"
wait_until told 3
expect "set here" OK "$(resp b set kv:y three)"
wait_until told 4
expect "set with bytes" OK "$(resp a set kv:z $'\x01\xff')"
result=0
wait "$watcher" || result=$?
expect "status of watch --count" 0 "$result"
expect "what was told" "kv:x	one	by $origin
kv:x	two	by $origin
kv:x	deleted	by $origin
kv:y	three	here
kv:z	base64 Af8=	by $origin" "$(cat b.out)"

expect "epoch and count" OK "$(resp b set em:e 6:0)"
is_told() {
    [ "$(wc -l <"$1")" -ge "$2" ]
}
wait_until is_told a.out 1
expect "a lower one" OK "$(resp b set em:e 5:9)"
expect "a higher one" OK "$(resp a set em:e 7:-1)"
wait_until is_told a.out 2
expect "epochs" "6 7" "$(while read -r line; do json epoch <<<"$line"; done <a.out | paste -sd' ')"
expect "local" "false true" "$(while read -r line; do json local <<<"$line"; done <a.out | paste -sd' ')"

for _ in 1 2 3; do resp a incr visits >/dev/null; done
wait_until grep -q '"value":3,' http.out
expect_between "events of a counter" 1 3 "$(grep -c '^event: change' http.out)"
kill -TERM "$curl"
wait_until watchers b 0

expect_status 2 ctl a watch --count 0
expect_status 2 ctl a watch --count x
expect_status 3 "$tallyctl" -s 127.0.0.1:1 watch
printf -v long '%0513d' 0
expect_status 1 ctl a watch "$long"
expect_like "a prefix longer than a key" 'bad_key' "$output"

# A node that stops lets its watchers go.
ctl b watch >stopped.out &
watcher=$!
helpers+=("$watcher")
wait_until watchers b 1
stop_node b
result=0
wait "$watcher" || result=$?
expect "status of a watcher whose server ended" 0 "$result"
