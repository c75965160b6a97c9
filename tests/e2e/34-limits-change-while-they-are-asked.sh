#!/usr/bin/env bash
# The limits of three nodes change a hundred times while they are asked: by SIGHUP, by a file that is replaced, written in place, or reached by a
# link that is turned, and by the key config:limits. No request fails, none sees two revisions, and what cannot be read changes nothing.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need redis-cli python3

turns=${TALLY_RELOADS:-100}
# As Kubernetes lays out a configmap.
for name in a b c; do
    mkdir -p "conf-$name/..0"
    printf 'limits:\n  - {name: one, rate: 1000000/10s}\n  - {name: two, rate: 1000000/10s}\n' >"conf-$name/..0/tally.yaml"
    ln -s ..0 "conf-$name/..data"
    ln -s ..data/tally.yaml "conf-$name/tally.yaml"
done
start_node a -f conf-a/tally.yaml
start_node b -f conf-b/tally.yaml -o join="$(addresses a)"
start_node c -f conf-c/tally.yaml -o join="$(addresses a)"
for name in a b c; do wait_until sees "$name" 2; done

nodes=()
for name in a b c; do nodes+=("$name:${http_port[$name]}:${pid[$name]}:conf-$name"); done
python reload.py files "$turns" "${nodes[@]}"

# What is broken is named with its place, counted once, and changes nothing; the next good one is taken.
before=$(metric a config_reloads_refused_total)
has_refused() {
    [ "$(metric a config_reloads_refused_total)" -gt "$before" ]
}
printf 'limits:\n  - {name: one, rate: 5 apples}\n' >conf-a/broken
mv conf-a/broken conf-a/tally.yaml
wait_until has_refused
expect_logged a 'reload refused, the limits stay as they are: conf-a/tally.yaml:2:23: .5 apples.; expected units/window'
expect "the last reload" 0 "$(metric a config_last_reload_successful)"
expect "limits of a" 2 "$(metric a config_limits_file)"
expect_like "the doctor" 'config' "$(ctl a doctor || true)"
rm conf-a/tally.yaml
expect_logged a 'reload refused, the limits stay as they are: conf-a/tally.yaml is gone'
before=$(metric a config_reloads_refused_total)
: >conf-a/tally.yaml
wait_until has_refused
expect_logged a 'reload refused, the limits stay as they are: conf-a/tally.yaml is empty; who wants no limits writes .limits: \[\].'
expect "the last reload" 0 "$(metric a config_last_reload_successful)"
expect "limits of a" 2 "$(metric a config_limits_file)"
printf 'limits:\n  - {name: one, rate: 5/10s}\n' >conf-a/good
mv conf-a/good conf-a/tally.yaml
has_taken() {
    [ "$(metric a config_limits_file)" = 1 ]
}
wait_until has_taken
expect "the last reload" 1 "$(metric a config_last_reload_successful)"

# A limit of the cluster stands above that of a file, on every node, whoever wrote it.
nodes=()
for name in a b c; do nodes+=("$name:${http_port[$name]}:${resp_port[$name]}:"); done
python reload.py key "$turns" "${nodes[@]}"
resp b set config:limits 'name: x' >/dev/null
expect_logged c 'config:limits:1:1: .name.; expected limits alone'
expect_status 1 ctl c doctor
expect_like "what the doctor says of it" "config:limits could not be read, so limits of before are in force, after a start none" "$output"
expect "readyz, for those of before stay" 200 "$(http_status c /readyz)"
# Who is started then has none of before.
stop_node c
start_node c -f conf-c/tally.yaml -o join="$(addresses a b)"
expect "readyz" 503 "$(http_status c /readyz)"
expect_like "what it says" "limits: the key config:limits cannot be read since the start" "$(http c /readyz)"
resp b del config:limits >/dev/null
is_well_again() {
    [ "$(http_status c /readyz)" = 200 ]
}
wait_until is_well_again
is_back() {
    [ "$(metric c config_limits_key)" = 0 ]
}
wait_until is_back
stop_node a
start_node a -f conf-a/tally.yaml
expect "limits of a after a restart" 1 "$(metric a config_limits_file)"

# A quota of the file goes on in its zone when the other source changes, again and again.
printf 'limits:\n  - {name: q, rate: 100/d, algorithm: quota, zone: Europe/Berlin}\n' >zone.yaml
start_node z -f zone.yaml
zone_is_kept() {
    http z /v1/limits | grep -q '"name":"q".*"zone":"Europe/Berlin"'
}
for turn in 1 2 3; do
    resp z set config:limits "limits: [{name: k$turn, rate: 5/s}]" >/dev/null
    takes() {
        http z /v1/limits | grep -q "\"name\":\"k$turn\""
    }
    wait_until takes
    expect_status 0 zone_is_kept
    expect "a check of the quota" 200 "$(http_status z /v1/check -d '{"limit":"q"}')"
done

# What one source had no room for is taken once the other leaves some: either way round, and without a word to the first one.
many() {
    printf 'limits:\n'
    for i in $(seq "$1"); do printf '  - {name: m%d, rate: 1/s}\n' "$i"; done
}
limits_are() {
    [ "$(metric z config_limits_file) $(metric z config_limits_key)" = "$1" ]
}
resp z set config:limits 'limits: [{name: k, rate: 5/s}]' >/dev/null
wait_until limits_are '1 1'
many 4096 >zone.new
mv zone.new zone.yaml
expect_logged z 'reload refused, the limits stay as they are: no memory for them, or more than 4096 limits in all'
expect "the last reload" 0 "$(metric z config_last_reload_successful)"
resp z del config:limits >/dev/null
wait_until limits_are '4096 0'
resp z set config:limits 'limits: [{name: k, rate: 6/s}]' >/dev/null
has_refused_the_key() {
    [ "$(metric z config_last_reload_successful)" = 0 ]
}
wait_until has_refused_the_key
many 10 >zone.new
mv zone.new zone.yaml
wait_until limits_are '10 1'
expect "the last reload" 1 "$(metric z config_last_reload_successful)"

# A line says which limits changed, and how; two that differ in that are two lines.
printf 'limits:\n  - {name: m1, rate: 1/s}\n  - {name: m2, rate: 2/s}\n  - {name: "n\\n1", rate: 2/s}\n' >zone.new
mv zone.new zone.yaml
expect_logged z 'reloaded 3 limits from zone.yaml .new n.x0a1; changed m2; gone m10, m3, m4, m5 and 4 more.$'
resp z set config:limits 'limits: [{name: k, rate: 7/s}, {name: m1, rate: 1/s}]' >/dev/null
expect_logged z 'took 2 limits over from the key config:limits .changed k.$'
kill -HUP "${pid[z]}"
expect_logged z 'reloaded 3 limits from zone.yaml .none changed.$'

# What it says besides takes effect at the next start and is named, but for what an option says otherwise; what could not start then is refused.
printf 'secret: word\nresp: 127.0.0.1:1\nmemory_max: 64m\nlimits:\n  - {name: m1, rate: 3/s}\n' >zone.new
mv zone.new zone.yaml
expect_logged z 'reloaded 1 limits from zone.yaml .gone m2, n.x0a1.; takes effect at the next start: secret, memory_max$'
printf 'grpc_tls_cert: /nowhere.pem\nlimits: []\n' >zone.new
mv zone.new zone.yaml
expect_logged z 'reload refused, the limits stay as they are: grpc_tls_cert and grpc_tls_key are needed together'
expect "limits from the file" 1 "$(metric z config_limits_file)"
