#!/usr/bin/env bash
# redis-cli, by RESP2 and RESP3, in pipelines and by hand, gets from every command what redis would answer.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli

# In order, on empty keys: a command, and what redis-cli shows: "\n" for a line's end, "%" for anything, "@(1|2)" for one or the
# other, since time passes. The same of redis 7.0.
alike() {
    cat <<'END'
ping | PONG
ping hello | "hello"
echo hello | "hello"
select 0 | OK
select 1 | (error) ERR DB index is out of range
incr c | (integer) 1
incrby c 5 | (integer) 6
decr c | (integer) 5
decrby c 2 | (integer) 3
get c | "3"
set c 9 | OK
set c 8 get | "9"
set c 1 nx | (nil)
set c 7 xx | OK
set c 1 ex 0 | (error) ERR invalid expire time in 'set' command
set c 1 never | (error) ERR syntax error
incr c | (integer) 8
incrby c x | (error) ERR value is not an integer or out of range
get nothing | (nil)
mget c nothing | 1) "8"\n2) (nil)
exists c c nothing | (integer) 2
type c | string
type nothing | none
ttl c | (integer) -1
ttl nothing | (integer) -2
expire c 100 | (integer) 1
ttl c | (integer) @(100|99)
incr c | (integer) 9
ttl c | (integer) @(100|99)
persist c | (integer) 1
persist c | (integer) 0
pttl c | (integer) -1
pttl nothing | (integer) -2
pexpire c 100000 | (integer) 1
expire c 50 nx | (integer) 0
expire c 50 lt | (integer) 1
expireat c 99999999999 | (integer) 1
pexpireat c 1 | (integer) 1
get c | (nil)
expire nothing 100 | (integer) 0
expire c never | (error) ERR value is not an integer or out of range
setex c 100 4 | OK
ttl c | (integer) @(100|99)
psetex c 200000 5 | OK
ttl c | (integer) @(200|199)
getdel c | "5"
getdel c | (nil)
set d 9223372036854775807 | OK
incr d | (error) ERR increment or decrement would overflow
del d nothing | (integer) 1
set kv:s text | OK
get kv:s | "text"
incr kv:s | (error) %
unlink kv:s | (integer) 1
dbsize | (integer) %
scan 0 match nosuch:* count 1000 | 1) "0"\n2) (empty %
scan x | (error) ERR invalid cursor
scan 0 count 0 | (error) ERR syntax error
scan 0 count x | (error) ERR value is not an integer or out of range
keys nosuch:* | (empty %
memory usage nothing | (nil)
exec | (error) ERR EXEC without MULTI
discard | (error) ERR DISCARD without MULTI
multi | OK
watch c | OK
unwatch | OK
exec x | (error) EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command
incr | (error) ERR wrong number of arguments for 'incr' command
nosuch a b | (error) ERR unknown command 'nosuch', with args beginning with: 'a' 'b' 
auth secret | (error) ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?
client getname | (nil)
client setname me | OK
client id | (integer) %
client info | %name=%
client nosuch | (error) ERR unknown subcommand 'nosuch'. Try CLIENT HELP.
command count | (integer) %
command docs ping | %summary%
command info nosuch | 1) (nil)
config get maxmemory | %maxmemory%0%
info server | %redis_version:%
info persistence | %loading:0%
hello 4 | (error) NOPROTO unsupported protocol version
time | 1) "%"\n2) "%"
reset | RESET
quit | OK
END
}

# And of ours alone.
ours() {
    cat <<'END'
cl.throttle user 15 30 60 | 1) (integer) 0\n2) (integer) 16\n3) (integer) 15\n4) (integer) -1\n5) (integer) 2
cl.throttle user 15 30 60 15 | 1) (integer) 0\n2) (integer) 16\n3) (integer) 0\n4) (integer) -1\n5) (integer) @(32|31)
cl.throttle user 15 30 60 | 1) (integer) 1\n2) (integer) 16\n3) (integer) 0\n4) (integer) @(2|1)\n5) (integer) @(32|31)
cl.throttle user 15 30 60 17 | 1) (integer) 1\n2) (integer) 16\n3) (integer) 0\n4) (integer) -1\n5) (integer) @(32|31)
cl.throttle user 15 30 x | (error) %
cl.throttle user 15 0 60 | (error) %
cl.throttle user | (error) %
del user | (integer) 1
cl.throttle user 15 30 60 0 | 1) (integer) 0\n2) (integer) 16\n3) (integer) 16\n4) (integer) -1\n5) (integer) 0
tly.check api tenant t1 | %code%"ok"%limit%2%remaining%1%
tly.check api tenant t1 hits 1 | %"ok"%remaining%0%
tly.check api tenant t1 | %"over"%retry_after_ms%
tly.peek api tenant t2 | %"ok"%remaining%2%
tly.reset api tenant t1 | (integer) 1
tly.reset api tenant t1 | (integer) 0
tly.check api tenant t1 | %"ok"%remaining%1%
tly.reset api tenant t1 | (integer) 1
tly.check nosuch | %"unknown"%
set c text | (error) %kv:%
set em:e 6:0 | OK
get em:e | "6:0"
incr em:e | (error) WRONGTYPE %
del em:e | (integer) 1
set rl:x 1 | (error) %
set sys:x 1 | (error) %
del sys:member:a | (error) %
END
}

# try WHAT TABLE OPTION OF REDIS-CLI...: runs a table.
try() {
    local what=$1 table=$2 line wanted got words
    shift 2
    while IFS= read -r line; do
        read -ra words <<<"${line%% | *}"
        wanted=${line#* | }
        got=$(redis-cli "$@" --no-raw "${words[@]}" </dev/null)
        got=${got//$'\n'/\\n}
        comparisons=$((comparisons + 1))
        wanted=$(sed 's/[][\\?*]/\\&/g; s/%/*/g' <<<"$wanted")
        # shellcheck disable=SC2053
        [[ $got == $wanted ]] || fail "$what: ${words[*]}: expected ${line#* | }, got $got"
    done < <("$table")
}

# talk BYTES: sent as they are; what comes back until the other side closes.
talk() {
    exec {wire}<>"/dev/tcp/127.0.0.1/${resp_port[a]}"
    # shellcheck disable=SC2059
    printf "$1" >&"$wire"
    timeout 10 cat <&"$wire"
    exec {wire}>&-
}

cat >tally.yaml <<'END'
limits:
  - name: api
    key: tenant
    rate: 2/300d
    algorithm: fixed_window
END
start_node a -f "$PWD/tally.yaml"
for protocol in -2 -3; do
    try "tallyd $protocol" alike "$protocol" -p "${resp_port[a]}"
    try "tallyd $protocol" ours "$protocol" -p "${resp_port[a]}"
done

expect "a number too large to add to" "(integer) -9223372036854775808" \
    "$(resp a --no-raw incrby low -9223372036854775808)"
expect_like "one more off it" "overflow" "$(resp a decr low)"
expect_like "hello 3" "proto.*3" "$(resp a hello 3 | tr '\n' ' ')"

# A pipeline: all at once, and replies in order.
pipe=$(for ((i = 0; i < 10000; i++)); do printf 'INCR piped\r\n'; done | redis-cli -p "${resp_port[a]}" --pipe)
expect_like "redis-cli --pipe" "errors: 0, replies: 10000" "$pipe"
expect "what it counted" 10000 "$(resp a get piped)"
# shellcheck disable=SC2016
expect "a pipeline of several kinds" "+PONG +OK \$1 8 :9 +OK " \
    "$(talk '*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$1\r\np\r\n$1\r\n8\r\n*2\r\n$3\r\nGET\r\n$1\r\np\r\nincr p\r\nquit\r\n' | tr -d '\r' | tr '\n' ' ')"

# Transactions, over one connection.
# shellcheck disable=SC2016
transaction='MULTI\r\nINCR tx\r\nEXPIRE tx 100\r\nEXEC\r\nMULTI\r\nINCR\r\nEXEC\r\nWATCH tx\r\nINCR tx\r\nMULTI\r\nDEL tx\r\nEXEC\r\nGET tx\r\nQUIT\r\n'
# shellcheck disable=SC2016
expect "a transaction" "+OK +QUEUED +QUEUED *2 :1 :1 +OK -ERR wrong number of arguments for 'incr' command -EXECABORT Transaction discarded because of previous errors. +OK :2 +OK +QUEUED *-1 \$1 2 +OK " \
    "$(talk "$transaction" | tr -d '\r' | tr '\n' ' ')"

# Every key once, while others are written.
for ((i = 0; i < 3000; i++)); do printf 'INCR scanned:%d\r\n' "$i"; done | redis-cli -p "${resp_port[a]}" --pipe >/dev/null
for ((i = 0; i < 20000; i++)); do printf 'INCR beside:%d\r\n' "$i"; done | redis-cli -p "${resp_port[a]}" --pipe >/dev/null &
helpers+=($!)
redis-cli -p "${resp_port[a]}" --scan --pattern 'scanned:*' >scanned.out
wait "${helpers[-1]}"
expect "keys that a scan sees" 3000 "$(wc -l <scanned.out)"
expect "and different ones" 3000 "$(sort -u scanned.out | wc -l)"
expect_like "throttle" "^1 10 9 6 0 \$" "$(resp a throttle crab 10 100 600 | tr '\n' ' ')"

# As a person types, with telnet.
# shellcheck disable=SC2016
expect "inline commands" '+PONG $3 a b :1 +OK ' \
    "$(talk 'PING\r\n\r\necho "a\\x20b"\nINCR typed\r\nQUIT\r\n' | tr -d '\r' | tr '\n' ' ')"

# The table says of redis what redis says.
if command -v redis-server >/dev/null; then
    redis-server --port 0 --unixsocket "$PWD/redis.sock" --save '' --dir "$PWD" --databases 1 >redis.out 2>&1 &
    helpers+=($!)
    rival=$!
    wait_until redis-cli -s "$PWD/redis.sock" ping
    result=0
    (try redis alike -2 -s "$PWD/redis.sock") || result=$?
    kill "$rival"
    wait "$rival" || true
    expect "the table, tried on redis" 0 "$result"
else
    note "no redis-server here: the table was not tried on redis"
fi
