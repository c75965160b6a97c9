#!/usr/bin/env bash
# nginx, Caddy and HAProxy with the configurations of tools/examples: what a limit allows reaches the application, a client gets the rest as
# 429 with RateLimit and Retry-After, no header of its own makes it another client, and what becomes of requests without a tallyd.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need nginx caddy haproxy

examples=$TALLY_E2E/../../tools/examples

# A port that is free now, for programs that cannot be told to choose one.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# configured EXAMPLE PORT OF THE GATEWAY: the example, with the ports of this scene.
configured() {
    sed "s/127\.0\.0\.1:7380/127.0.0.1:${http_port[a]}/; s/127\.0\.0\.1:8081/127.0.0.1:$(cat origin.port)/
         s/listen 8080/listen 127.0.0.1:$2/; s/^:8080/http:\/\/127.0.0.1:$2/; s/bind :8080/bind 127.0.0.1:$2/" "$examples/$1"
}

# ask OPTION OF CURL...: through the gateway; the answer's head is in ./head.txt, its body in ./body, its status in $status.
gateway=
ask() {
    status=$(curl -sS -m 20 --noproxy '*' -D head.txt -o body -w '%{http_code}' "$@" "http://127.0.0.1:$gateway/some/page?x=1")
}

serves() {
    ask -H 'X-Probe: yes' && [ "$status" = 200 ]
}

served() {
    curl -sS -m 20 --noproxy '*' "http://127.0.0.1:$(cat origin.port)/count"
}

# expect_head WHAT REGEXP: some line of the last answer's head.
expect_head() {
    comparisons=$((comparisons + 1))
    tr -d '\r' <head.txt | grep -qiE "^$2\$" || fail "$1: no line like '$2' in: $(cat head.txt)"
}

# What one client may do is done by a client that says each time that it is another.
holds_its_limit() {
    local i before allowed=0
    before=$(served)
    for i in {1..12}; do
        ask -H "X-Forwarded-For: 6.6.6.$i" -H "X-Real-IP: 6.6.6.$i" -H "X-Tally-Ip: 6.6.6.$i" -X "$1"
        [ "$status" != 200 ] || allowed=$((allowed + 1))
        [ "$status" = 200 ] || expect "status of a refusal" 429 "$status"
    done
    expect "allowed by $1" "$2" "$allowed"
    expect "served" "$((before + $2))" "$(served)"
    expect_head "a refusal" 'retry-after: [1-9][0-9]*'
    expect_head "a refusal" 'ratelimit: "edge";r=0;t=[0-9]+'
    expect_head "a refusal" 'ratelimit-policy: "edge";q=10;w=3600'
}

# The same for each gateway, with a limit that is new.
works() {
    start_node a -f rules.yaml
    wait_until serves
    expect "its body" hello "$(cat body)"
    expect_head "an allow" 'ratelimit: "edge";r=9;t=[0-9]+'
    expect_head "an allow" 'ratelimit-policy: "edge";q=10;w=3600'
    holds_its_limit POST 9
    kill_node a
    rm -r a/data
}

python3 "$TALLY_E2E/origin.py" origin.port &
helpers+=($!)
wait_until test -f origin.port
sed 's|rate: 100/60s|rate: 10/h\n    algorithm: fixed_window|' "$examples/tally.yaml" >rules.yaml
start_node a -f "$examples/tally.yaml"
kill_node a
rm -r a/data

# --- nginx ---
gateway=$(free_port)
configured nginx.conf "$gateway" | sed 's|^http {|& access_log off; include here;|' >for.nginx
for i in client_body proxy fastcgi uwsgi scgi; do echo "${i}_temp_path t;"; done >here
mkdir -p nginx
nginx -p nginx/ -e stderr -c "$PWD/for.nginx" -g 'daemon off; master_process off; pid pid;' 2>nginx/said &
helpers+=($!)
works
expect_head "nginx refuses as plain text" 'content-type: text/plain'
ask
expect "without a tallyd nginx lets pass" 200 "$status"

# --- Caddy ---
gateway=$(free_port)
configured Caddyfile "$gateway" | sed '1i { \n admin off \n auto_https off \n }' >for.caddy
HOME=$PWD caddy run --config for.caddy --adapter caddyfile 2>caddy.said &
helpers+=($!)
works
expect_head "Caddy refuses as Tally did" 'content-type: application/problem\+json'
expect "its code" over "$(json code <body)"
ask
expect "without a tallyd Caddy does not" 502 "$status"

# --- HAProxy ---
gateway=$(free_port)
configured haproxy/haproxy.cfg "$gateway" >for.haproxy
configured haproxy/tally.lua "$gateway" >tally.lua
haproxy -f for.haproxy 2>haproxy.said &
helpers+=($!)
works
expect "HAProxy refuses as its example says" 'too many requests' "$(cat body)"
ask
expect "without a tallyd HAProxy lets pass" 200 "$status"

# --- Traefik and APISIX, which cannot be had here: what they send is asked, and what their examples name is there ---
start_node a -f rules.yaml
allowed=0
for i in {1..12}; do
    for name in traefik apisix; do
        address=$(grep -o 'http://127.*' "$examples/$name.yaml")
        status=$(curl -sS -m 20 --noproxy '*' -D head.txt -o body -w '%{http_code}' -H 'X-Forwarded-Proto: http' \
            -H 'X-Forwarded-Method: POST' -H 'X-Forwarded-Host: shop.example' -H 'X-Forwarded-Uri: /some/page?x=1' \
            -H "X-Forwarded-For: 6.6.6.$i, 9.9.9.9" "${address/7380/${http_port[a]}}")
        [ "$status" = 429 ] || expect "status of an allow" 200 "$status"
        [ "$status" = 429 ] || allowed=$((allowed + 1))
    done
done
expect "allowed to one client of both" 10 "$allowed"
expect "the last one" 429 "$status"
named=$(sed -n 's/.*client_headers: \[\(.*\)\]/\1/p' "$examples/apisix.yaml" | tr -d ,)
expect "headers that are named" 4 "$(wc -w <<<"$named")"
for name in $named; do expect_head "a refusal for APISIX" "$name: .+"; done
/usr/bin/python3 -c 'import sys, yaml; yaml.safe_load(open(sys.argv[1]))' "$examples/apisix.yaml" 2>yaml.err ||
    grep -q 'No module named' yaml.err || fail "apisix.yaml is no YAML: $(tail -n 1 yaml.err)"
expect "how APISIX knows that it has all" '#END' "$(tail -n 1 "$examples/apisix.yaml")"
