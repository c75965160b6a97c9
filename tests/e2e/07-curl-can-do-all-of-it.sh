#!/usr/bin/env bash
# Checks, counters, the forward check of proxies, the node's own pages and its metrics, with curl.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

# ask WANTED_STATUS NODE PATH OPTION OF CURL...: the body is in $body, the headers in $head.
body='' head=''
ask() {
    local wanted=$1 got
    shift
    got=$(http "$@" -D headers -o body -w '%{http_code}')
    body=$(cat body)
    head=$(tr -d '\r' <headers)
    : >body
    expect "status of $* (it says: $body)" "$wanted" "$got"
}

# field WANTED NAME: of the JSON in the body.
field() {
    expect "$2 of $body" "$1" "$(json "$2" <<<"$body")"
}

# problem STATUS CODE: the body is one, as in RFC 9457.
problem() {
    expect_like "type of $body" 'Content-Type: application/problem\+json' "$head"
    field "$1" status
    expect_like "code of $body" "$2" "$(json code <<<"$body")"
    expect_unlike "a sentence in $body" '^$' "$(json detail <<<"$body")"
}

header() {
    expect_like "the headers" "(^|"$'\n'")$1("$'\n'"|\$)" "$head"
}

cat >tally.yaml <<'END'
limits:
  - name: api
    key: [tenant, route]
    rate: 2/300d
    algorithm: fixed_window
  - name: shadow
    rate: 1/300d
    algorithm: fixed_window
    shadow: true
END
start_cluster a b -- -f "$PWD/tally.yaml"

# A limit made up in the request.
adhoc='{"key":"any bytes","rate":"2/300d","algorithm":"fixed_window","hits":1}'
ask 200 a /v1/check -d "$adhoc"
field ok code
field 2 limit
field 1 remaining
ask 200 a /v1/check -d "$adhoc"
ask 429 a /v1/check -d "$adhoc"
field over code
field 0 remaining
expect_like "when to come back, of $body" '^[1-9][0-9]*$' "$(json retry_after_ms <<<"$body")"
header 'Retry-After: [1-9][0-9]*'
header 'RateLimit: "default";r=0;t=[1-9][0-9]*'
header 'RateLimit-Policy: "default";q=2;w=25920000'
ask 429 a /v1/check -d '{"key":"many","rate":"2/300d","algorithm":"fixed_window","hits":3}'
field -1 retry_after_ms
ask 200 a /v1/check -d '{"key":"bucket","rate":"10/1s","algorithm":"token_bucket","burst":20}'
field 20 limit

# A named one, also seen by the other node.
named='{"limit":"api","key":{"tenant":"t1","route":"/x"},"hits":2}'
ask 200 a /v1/check -d "$named"
field 0 remaining
field api name
header 'RateLimit: "api";r=0;t=[0-9]+'
wait_equal a b
ask 429 b /v1/check -d "$named"
ask 200 b /v1/check -d '{"limit":"api","key":{"tenant":"t1:/x","route":""},"hits":1}'
ask 200 b /v1/check -d '{"limit":"api","key":{"tenant":"t1","route":"/x"},"hits":0}'
ask 200 a /v1/check -d '{"limit":"shadow","key":{},"hits":5}'
field true shadow
ask 200 a /v1/check -d '{"checks":[{"limit":"api","key":{"tenant":"t2"}},{"limit":"nosuch","key":{}},{}]}'
field ok results.0.code
expect_like "an unknown one among many" 'limit' "$(json results.1.code <<<"$body")"
field bad_check results.2.code

# What cannot be answered is a problem, and says which.
ask 404 a /v1/check -d '{"limit":"nosuch","key":{}}'
problem 404 'limit'
ask 400 a /v1/check -d '{"limit":'
problem 400 bad_json
ask 400 a /v1/check -d '{"key":"k","rate":"fast"}'
problem 400 bad_check
ask 400 a /v1/check -d '{"key":"k","rate":"1/1s","hit":1}'
problem 400 bad_check
ask 400 a /v1/check -d "{\"key\":\"$(printf '%0600d' 0)\",\"rate\":\"1/1s\"}"
problem 400 key
ask 405 a /v1/check
problem 405 method_not_allowed
header 'Allow: POST'
ask 404 a /nosuch
problem 404 no_route

# Counters, and what is none.
ask 404 a /v1/counters/hits
problem 404 not_found
ask 200 a /v1/counters/hits -d '{"delta":5}'
field 5 value
ask 200 a /v1/counters/hits -X POST
field 6 value
ask 200 a /v1/counters/hits -d '{"delta":-2}'
ask 200 a /v1/counters/hits
field 4 value
wait_equal a b
ask 200 b /v1/counters/hits
field 4 value
ask 204 b /v1/counters/hits -X DELETE
wait_equal a b
ask 404 a /v1/counters/hits
ask 404 a /v1/counters/hits -X DELETE
ask 200 a /v1/counters/a%2Fb%20c -d '{"delta":1}'
field 'a/b c' key
ask 400 a /v1/counters/x%zz
problem 400 bad_path
ask 400 a /v1/counters/x -d '{"delta":1.5}'
problem 400 bad_change
ask 200 a /v1/counters/em:e -d '{"epoch":6,"count":0}'
expect "epoch and count" '{"epoch":6,"count":0}' "$(tr -d ' \n' <<<"$body")"
ask 200 a /v1/counters/em:e -d '{"epoch":5,"count":100}'
ask 200 a /v1/counters/em:e
expect "the greater epoch wins" '{"epoch":6,"count":0}' "$(tr -d ' \n' <<<"$body")"
ask 200 a /v1/counters/em:m -d '{"epoch":18446744073709551615,"count":-9223372036854775808}'
expect "its ends come back as they went" '{"epoch":18446744073709551615,"count":-9223372036854775808}' "$(tr -d ' \n' <<<"$body")"
ask 409 a /v1/counters/em:e -d '{"delta":1}'
ask 200 a /v1/counters/kv:k -d '{"value":"text"}'
field text value
ask 403 a /v1/counters/sys:x -d '{"value":"text"}'
problem 403 read_only

# What proxies ask: any method, an empty body, the verdict in the headers.
for method in GET POST PUT; do
    ask 200 a '/check/api?tenant=p&route='$method -X "$method"
    expect "the body of an admission" '' "$body"
    header 'RateLimit: "api";r=1;t=[0-9]+'
    header 'RateLimit-Policy: "api";q=2;w=25920000'
done
ask 200 a '/check/api?tenant=p&route=GET'
ask 429 a '/check/api?tenant=p&route=GET'
problem 429 over
header 'Retry-After: [1-9][0-9]*'
ask 403 a '/check/api?tenant=p&route=GET&deny=403'
ask 200 a /check/api -H 'X-Tally-Tenant: p' -H 'X-Tally-Route: h' -I
ask 404 a /check/nosuch

# The node's own pages.
ask 200 a /healthz
ask 200 a /readyz
ask 200 a /v1/cluster
field a name
field b peers.0.name
field true peers.0.up
ask 200 a /v1/peers
field b 0.name
ask 200 a /v1/limits
field api 0.name
field 2 0.limit

# Every line of the metrics is one, and what happened moved them.
http a /metrics >before.txt
python metrics.py <before.txt >before || fail 'see above'
ask 200 a /v1/check -d '{"key":"m","rate":"1/300d","algorithm":"fixed_window"}'
ask 429 a /v1/check -d '{"key":"m","rate":"1/300d","algorithm":"fixed_window"}'
ask 404 a /v1/check -d '{"limit":"nosuch","key":{}}'
ask 200 a /v1/counters/m -d '{"delta":1}'
wait_equal a b
http a /metrics >after.txt
python metrics.py <after.txt >after || fail 'see above'
risen() {
    awk -v s="tally_$1" '$1 == s { v[FILENAME] = $2; n++ } END { print n == 2 ? v["after"] - v["before"] : "not there" }' before after
}
expect "admitted checks" 1 "$(risen checks_ok_total)"
expect "refused checks" 1 "$(risen checks_over_total)"
expect "checks of no limit" 1 "$(risen checks_unknown_total)"
expect "writes" 1 "$(risen writes_total)"
for name in http_requests_total dots_sent_total bytes_sent_total store_batches_stored_total; do
    expect_between "$name" 1 1000000 "$(risen "$name")"
done
expect "the peer" 1 "$(awk '$1 == "tally_peer_up{peer=\"b\"}" { print $2 }' after)"
