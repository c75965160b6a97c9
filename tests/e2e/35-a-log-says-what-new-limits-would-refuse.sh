#!/usr/bin/env bash
# tallyctl replay: common, combined and JSON lines through the limits of a file, beside what was refused then.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

cat >new.yaml <<'END'
limits:
  - name: by-ip
    key: ip
    rate: 3/m
    algorithm: fixed_window
  - name: by-path
    key: [path, tenant]
    rate: 5/m
    algorithm: fixed_window
    shadow: true
END

# Ten requests in one minute, of which seven are of one address; three were refused then. Two more a minute later.
requests() {
    local i ip status
    for i in 0 1 2 3 4 5 6 7 8 9; do
        ip=10.0.0.1 status=200
        ((i < 7)) || ip=10.0.0.2
        ((i < 5 || i > 7)) || status=429
        "$1" "$ip" "$status" "00:0$i"
    done
    "$1" 10.0.0.1 200 01:00
    "$1" 10.0.0.2 200 01:01
}
common() { printf '%s - - [01/Mar/2026:14:%s +0200] "GET /a?b=1 HTTP/1.1" %s 5\n' "$1" "$3" "$2"; }
combined() { printf '%s - - [01/Mar/2026:12:%s +0000] "GET /a HTTP/1.1" %s 5 "-" "an \\"agent\\""\n' "$1" "$3" "$2"; }
nginx() { printf '{"time":"2026-03-01T12:%s+00:00","remote_addr":"%s","request":"GET /a HTTP/1.1","status":%s}\n' "$3" "$1" "$2"; }
caddy() {
    printf '{"ts":"2026-03-01T12:%s.250Z","request":{"remote_ip":"%s","method":"GET","uri":"/a?x"},"status":%s}\n' "$3" "$1" "$2"
}

for format in common combined nginx caddy; do
    requests "$format" >"$format.log"
    said=$("$tallyctl" --json replay "$format.log" -f new.yaml)
    expect "$format: requests" 12 "$(json requests <<<"$said")"
    expect "$format: refused then" 3 "$(json refused_then <<<"$said")"
    # Of seven four are too many; of ten of one path five.
    expect "$format: by-ip" 4 "$(json limits.0.refused <<<"$said")"
    expect "$format: by-ip, also then" 2 "$(json limits.0.both <<<"$said")"
    expect "$format: the address" 4 "$(json limits.0.most_refused <<<"$said" | grep -o '"10.0.0.1": *4' | grep -o '4$')"
    expect "$format: by-path, in shadow" 5 "$(json limits.1.refused <<<"$said")"
    expect "$format: by any" 7 "$(json refused <<<"$said")"
    expect "$format: from" 1772366400 "$(($(json from_ms <<<"$said") / 1000))"
done

# One that holds all rights refuses what any other would, also of what had begun.
sed 's/algorithm: fixed_window/&\n    mode: hard/' new.yaml >hard.yaml
printf '  - {name: day, key: ip, rate: 3/d, algorithm: quota, mode: hard}\n  - {name: stock, algorithm: counter, max: 3, mode: hard}\n' >>hard.yaml
said=$("$tallyctl" --json replay common.log -f hard.yaml)
for limit in by-ip:4 by-path:5 day:6 stock:9; do
    expect "hard: $limit" "$limit" "$(python3 -c 'import json, sys
for limit in json.load(sys.stdin)["limits"]:
    print(limit["name"], limit["refused"], sep=":")' <<<"$said" | grep "^${limit%:*}:")"
done

said=$("$tallyctl" replay - -f new.yaml < <(
    cat combined.log
    echo nonsense
    echo '{"no":"time"}'
))
expect_like "for people" '12 requests, 2026-03-01T12:00:00Z to 2026-03-01T12:01:01Z' "$said"
expect_like "bad lines" '2 lines were not understood, the first is line 13' "$said"
expect_like "a limit" 'by-ip: 4 of 12 would be refused \(33.33 %\)' "$said"
expect_like "shadow" 'by-path: 5 of 12 would be refused \(41.67 %\), were it not for shadow' "$said"
expect_like "a field that no line has" '12 lines have no tenant' "$said"
expect_like "another status" 'refused then \(200\) +9' "$("$tallyctl" replay combined.log -f new.yaml --status 200)"

# refused WORDS COMMAND...: it ends with a status of its own and says why.
refused() {
    local words=$1 status=0 said
    shift
    said=$("$@" 2>&1) || status=$?
    ((status > 0)) || fail "$*: status 0"
    expect_like "$*" "$words" "$said"
}
refused 'common, combined or JSON' "$tallyctl" replay - -f new.yaml </dev/null
refused 'No such file' "$tallyctl" replay absent.log -f new.yaml
refused '-f FILE' "$tallyctl" replay combined.log
refused '--status' "$tallyctl" replay combined.log -f new.yaml --status x
echo 'limits: [{name: a, rate: fast}]' >bad.yaml
refused 'bad.yaml:1:26' "$tallyctl" replay combined.log -f bad.yaml
echo '{}' >none.yaml
refused 'there are no limits' "$tallyctl" replay combined.log -f none.yaml
