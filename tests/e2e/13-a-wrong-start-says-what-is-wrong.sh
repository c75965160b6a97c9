#!/usr/bin/env bash
# -n, -V, settings and files that are wrong, addresses in use: the status tells programs, the message tells people.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

start_node a
in_use=127.0.0.1:${resp_port[a]}
quiet=(-o data=none -o resp=none -o http=none -o peers=none)

# refused STATUS REGEXP OPTION OF TALLYD...
refused() {
    local wanted=$1 message=$2
    shift 2
    expect_status "$wanted" timeout 20 "$tallyd" "$@"
    expect_like "what tallyd $* says" "$message" "$output"
    expect_unlike "what tallyd $* says" 'ready resp=' "$output"
}

# file TEXT: a tally.yaml, with \n for a line's end.
file() {
    printf '%b' "$1" >tally.yaml
}

expect_status 0 "$tallyd" -V
expect_like "the version" '^tallyd [0-9]+\.[0-9]+' "$output"
said=$output
expect_status 0 "$tallyd" --version
expect "the version by its word" "$said" "$output"
expect_status 0 "$tallyd" --help
expect_like "help by its word" '^usage: tallyd' "$output"
expect_status 0 "$tallyd" -n
file 'limits:\n  - name: api\n    rate: 5/m\n'
expect_status 0 "$tallyd" -n -f tally.yaml
expect_like "what -n says" 'ok: 1 limit' "$output"
expect "what -n leaves behind" no "$([ -e state ] && echo yes || echo no)"

# The command line: status 2.
refused 2 'usage: tallyd' -x
refused 2 'usage: tallyd' -o
refused 2 'usage: tallyd|settings are given as' name=a
refused 2 'nosuch.*expected one of.*name.*resp' -o nosuch=1
refused 2 'key=value' -o name
refused 2 'resp=7379.*ADDR:PORT' -o resp=7379
refused 2 'resp=127\.0\.0\.1:65536.*ADDR:PORT' -o resp=127.0.0.1:65536
refused 2 'fsync=often.*always, interval or never' -o fsync=often
refused 2 'flush_ms=0.*1 to 1000' -o flush_ms=0
refused 2 'log=loud.*error, warn, info or debug' -o log=loud
refused 2 'name=a b.*letters' -o 'name=a b'
refused 2 'join=nowhere.*ADDR:PORT' -o join=nowhere
refused 2 'nobody could connect' -o peers=none -o advertise=127.0.0.1:7382

# Files that settings name.
refused 2 'ratelimit: .*nowhere: No such file' -n -o ratelimit="$PWD/nowhere"
long=$(printf 'hush%.0s' {1..80})
refused 2 'secret=.*: expected up to 255 bytes' -o secret="$long"
expect_unlike "what it says of it" hush "$output"
refused 2 'TLS of the gRPC door: certificate .*nowhere: No such file' -n -o grpc_tls_cert="$PWD/nowhere" -o grpc_tls_key="$PWD/nowhere"

# The file: status 2, with its name, line and column; the same with -n.
refused 2 'nosuch\.yaml: No such file' -f nosuch.yaml
refused 2 '^tallyd: \.: ' -f .
while IFS='|' read -r place expected text; do
    file "$text"
    refused 2 "tally\\.yaml:$place: .*$expected" -n -f tally.yaml
    refused 2 "tally\\.yaml:$place: .*$expected" -f tally.yaml "${quiet[@]}"
done <<'END'
1:1|nosuch|nosuch: 1\n
2:8|always, interval or never|name: n\nfsync: often\n
1:1|map|- a\n- b\n
1:9|list|limits: five\n
2:5|map|limits:\n  - five\n
3:11|units|limits:\n  - name: api\n    rate: fast\n
3:11|units|limits:\n  - name: api\n    rate: 5/367d\n
2:5|no rate|limits:\n  - name: api\n
2:5|no name|limits:\n  - rate: 5/m\n
4:5|brust|limits:\n  - name: api\n    rate: 5/m\n    brust: 7\n
4:16|sliding_window|limits:\n  - name: api\n    rate: 5/m\n    algorithm: guess\n
4:5|rate.*once|limits:\n  - name: api\n    rate: 5/m\n    rate: 6/m\n
4:5|this name|limits:\n  - name: api\n    rate: 5/m\n  - name: api\n    rate: 6/m\n
4:11|optimistic|limits:\n  - name: api\n    rate: 5/m\n    mode: soft\n
2:5|anchor|limits:\n  - &a {name: api, rate: 5/m}\n  - *a\n
3:1||limits:\n  - {name: api\n
2:1||limits:\n\t- name: api\n
2:1|second document|name: n\n---\nname: m\n
END

# What the machine does not give: status 1, and which address or directory it was.
refused 1 "$in_use.*in use" "${quiet[@]}" -o resp="$in_use"
refused 1 "127\\.0\\.0\\.1:${http_port[a]}.*in use" "${quiet[@]}" -o http="127.0.0.1:${http_port[a]}"
refused 1 "127\\.0\\.0\\.1:${peers_port[a]}.*in use" "${quiet[@]}" -o peers="127.0.0.1:${peers_port[a]}"
refused 1 '192\.0\.2\.1:1[^0-9]' "${quiet[@]}" -o http=192.0.2.1:1
touch occupied
refused 1 'occupied' "${quiet[@]}" -o data="$PWD/occupied"
refused 1 'nosuch/socket' "${quiet[@]}" -o resp="unix:$PWD/nosuch/socket"
expect "the one that was there" PONG "$(redis-cli -p "${resp_port[a]}" ping)"

# -o is stronger than the file, and doors may be closed or in the file system.
file 'name: of-the-file\ncluster: c1\n'
start_node b -f tally.yaml -o cluster=c2 -o resp="unix:$PWD/resp.sock" -o peers=none
expect "the ready line" "ready resp=unix:$PWD/resp.sock http=127.0.0.1:${http_port[b]} peers=none" "$(cat b/out)"
expect "the cluster" c2 "$(http b /v1/cluster | json cluster)"
expect "a socket in the file system" PONG "$(redis-cli -s resp.sock ping)"
stop_node b
expect "the socket after the stop" no "$([ -e resp.sock ] && echo yes || echo no)"
