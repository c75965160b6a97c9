#!/usr/bin/env bash
# tools/examples/switching.md: what it says beside nginx's limit_req, HAProxy's stick tables and redis is what those do and what a
# node does; its store limits; the unit for systemd is one, with a command line that is understood.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016  # backquotes of Markdown, variables of nginx
. "$TALLY_E2E/lib.sh"
need nginx haproxy node npm
install_clients || skip "npm ci failed: $(tail -n 1 npm.out)"

examples=$TALLY_E2E/../../tools/examples
document=$examples/switching.md

# row WORDS: the right column of the row of a table that has these in its left one.
row() {
    local found
    found=$(grep -F "$1" "$document" | cut -d'|' -f3)
    [ "$(grep -c . <<<"$found")" = 1 ] || fail "no such row, or several: $1"
    printf '%s\n' "$found"
}

# limit NAME WORDS: that row as a limit, its key in front.
limit() {
    printf '  - {name: %s, key: ip, %s}\n' "$1" "$(row "$2" | grep -o '`[a-z_]*: [a-z0-9_/]*`' | tr -d '\140' | paste -sd,)"
}

{
    echo limits:
    limit burst 'burst=20 nodelay'
    limit none 'without a burst'
    limit stick 'store http_req_rate(10s)'
} >tally.yaml
start_node a -f tally.yaml
port=${http_port[a]}

# How many of so many requests in a row are answered with 200.
admitted() {
    curl -sS -m 20 --noproxy '*' -o /dev/null -w '%{http_code}\n' "http://127.0.0.1:$1/$2?[1-$3]" | grep -c 200
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

is_up() {
    curl -sS -m 20 --noproxy '*' -o /dev/null "http://127.0.0.1:$1/nothing" 2>/dev/null
}

# --- nginx: as the left column, but an hour's rate, so that nothing comes back meanwhile ---
nginx=$(free_port)
mkdir -p nginx/burst nginx/none
touch nginx/burst/x nginx/none/x
{
    echo 'events {} http { access_log off; limit_req_status 429;'
    for i in client_body proxy fastcgi uwsgi scgi; do echo "${i}_temp_path t;"; done
    echo 'limit_req_zone $server_port zone=burst:1m rate=10r/m; limit_req_zone $server_port zone=none:1m rate=1r/m;'
    echo "server { listen 127.0.0.1:$nginx; root .;"
    echo 'location /burst/ { limit_req zone=burst burst=20 nodelay; } location /none/ { limit_req zone=none; } } }'
} >nginx/conf
nginx -p nginx/ -e stderr -c conf -g 'daemon off; master_process off; pid pid;' 2>nginx/said &
helpers+=($!)
wait_until is_up "$nginx"
sed -i 's|rate: 10/s|rate: 10/m|; s|rate: 30/m|rate: 1/m|' tally.yaml
wait_until eval 'http a /v1/limits | grep -q "\"limit\":1,"'
for each in burst none; do
    expect "what $each lets pass" "$(admitted "$nginx" "$each/x" 40)" "$(admitted "$port" "check/$each" 40)"
done

# --- HAProxy ---
haproxy=$(free_port)
cat >haproxy.cfg <<END
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend f
    bind 127.0.0.1:$haproxy
    stick-table type ip size 100k expire 30s store http_req_rate(10s)
    http-request return status 404 if { path /nothing }
    http-request track-sc0 src
    http-request deny deny_status 429 if { sc_http_req_rate(0) gt 100 }
    http-request return status 200
END
haproxy -f haproxy.cfg 2>haproxy.said &
helpers+=($!)
wait_until is_up "$haproxy"
expect "what the table lets pass" 100 "$(admitted "$haproxy" x 120)"
expect_between "what a node lets pass" 100 102 "$(admitted "$port" check/stick 120)"

# --- redis ---
redis=$(grep -o 'CL.THROTTLE key 15 30 60' "$document" | head -n 1)
for i in {1..16}; do
    # shellcheck disable=SC2086  # words without spaces
    expect "token $i" 0 "$(redis-cli -p "${resp_port[a]}" $redis | head -n 1)"
done
# shellcheck disable=SC2086
expect "one too many" 1 "$(redis-cli -p "${resp_port[a]}" $redis | head -n 1)"
expect_like "a script" 'there are no scripts here' "$(redis-cli -p "${resp_port[a]}" eval 'return 1' 0)"
expect_like "a key of ours" 'kept by tallyd itself' "$(redis-cli -p "${resp_port[a]}" incr rl:1)"

ln -s "$TALLY_E2E/node_modules" node_modules
sed -n '/^```js$/,/^```$/{/^```/!p}' "$document" >store.mjs
cat >try.mjs <<'END'
import assert from "node:assert/strict";
import Redis from "ioredis";
import { TallyStore } from "./store.mjs";

const redis = new Redis(Number(process.argv[2]), "127.0.0.1"), store = new TallyStore(redis);
store.init({ windowMs: 86400000 });
const first = await store.increment("k"), second = await store.increment("k");
assert.deepEqual([first.totalHits, second.totalHits], [1, 2]);
for (const { resetTime } of [first, second]) assert.ok(Math.abs(resetTime - Date.now() - 86400000) < 60000);
await store.decrement("k");
assert.equal((await store.increment("k")).totalHits, 2);
assert.equal((await store.increment("l")).totalHits, 1);
await store.resetKey("k");
assert.equal((await store.increment("k")).totalHits, 1);
await redis.quit();
END
expect_status 0 timeout 60 node try.mjs "${resp_port[a]}"

# --- systemd ---
unit=$examples/tallyd.service
args=$(sed -n 's/^ExecStart=[^ ]* //p' "$unit")
# shellcheck disable=SC2086
expect_status 0 "$tallyd" -n ${args/\/etc\/tally\/tally.yaml/tally.yaml}
if command -v systemd-analyze >/dev/null; then
    sed "s|/usr/local/sbin/tallyd|$tallyd|; /^Documentation/d" "$unit" >tallyd.service
    expect_status 0 systemd-analyze verify "$PWD/tallyd.service"
    expect "what systemd has to say" '' "$output"
fi
( umask 007 && start_node b -o http="unix:$PWD/http.sock" -o peers=none && stat -c %A http.sock >mode && stop_node b )
expect "who may ask at a socket" srwxrwx--- "$(cat mode)"
