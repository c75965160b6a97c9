#!/usr/bin/env bash
# The limits of README.md are a file, and each command behind them does on a node with that file what it is there for.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli

readme=$TALLY_E2E/../../README.md
sed -n '/^    limits:$/,/^$/s/^    //p' "$readme" >tally.yaml
expect_status 0 "$tallyd" -n -f tally.yaml
expect_like "the file" 'ok: 5 limits' "$output"
start_node a -f tally.yaml

# Those behind the line that starts the node, with the addresses of this one.
sed -n '/tallyd -f tally.yaml$/,$s/^    \$ \(curl\|redis-cli\|build.*tallyctl check\)/\1/p' "$readme" |
    sed "s|localhost:7380|127.0.0.1:${http_port[a]}|; s|-p 7379|-p ${resp_port[a]}|; s|^curl|curl -f|
         s|build/release/tallyctl|$tallyctl -s 127.0.0.1:${http_port[a]}|" >commands
expect "commands" 10 "$(wc -l <commands)"
while read -r each; do
    expect_status 0 bash -c "$each"
    expect_unlike "$each" 'no_limit|unknown|ERR|refused' "$output"
done <commands
expect "reserved, then settled" 1234 "$(http a '/v1/check' -d '{"limit":"tokens","key":{"user":"u1"},"hits":0}' |
    json why | sed 's/ used.*//')"
