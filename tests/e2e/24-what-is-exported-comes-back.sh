#!/usr/bin/env bash
# Dots go into a file and out of it: whole or not at all, from a node or from its directory; diff, explain and editing.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

size_of() { stat -c %s "$1"; }

# Whether two exports hold the same.
same() {
    expect_status 0 "$tallyctl" diff "$1" "$2"
    expect "nothing is missing in $1" "" "$output"
    expect_status 0 "$tallyctl" diff "$2" "$1"
}

start_node a
for i in {1..40}; do ctl a incr "ctr:$i" "$i" >/dev/null; done
http a /v1/counters/kv:one -d '{"value":"first"}' >/dev/null
http a /v1/counters/kv:two -d '{"value":"second"}' >/dev/null
http a /v1/counters/em:e -d '{"epoch":6,"count":0}' >/dev/null
http a /v1/counters/em:e -d '{"epoch":5,"count":100}' >/dev/null
ctl a check --key k --rate 5/300d --algorithm token_bucket >/dev/null
ctl a incr gone >/dev/null
http a /v1/counters/gone -X DELETE

# --- export, apply ---
expect_status 0 ctl a export -o whole
expect_like "export tells" '^[0-9]+ dots, [0-9]+ bytes$' "$output"
ctl a export >piped 2>said
same whole piped
expect_like "export --json" '"dots":' "$(ctl a export --json 2>&1 >/dev/null)"
expect_status 0 ctl a export kv: -o some
expect "dots with a prefix" "2 dots" "${output%%,*}"
expect_status 1 "$tallyctl" diff some whole
expect_status 0 "$tallyctl" diff whole some

start_node b
ctl b incr ctr:1 1000 >/dev/null
expect_status 0 ctl b apply whole
expect_like "apply tells" '^[0-9]+ of [0-9]+ dots were new here$' "$output"
expect_status 0 ctl b get kv:two
expect "what was applied is read" second "$output"
expect_status 0 ctl b get ctr:1
expect "counts add up" 1001 "$output"
expect_status 0 ctl b get em:e
expect "epoch_max" 'epoch 6 count 0' "$output"
expect_status 1 ctl b get gone
expect_status 0 ctl b apply whole --json
expect "twice is once" 0 "$(json applied <<<"$output")"
expect_status 0 ctl b export -o b.whole
expect_status 0 "$tallyctl" diff b.whole whole
expect_status 1 "$tallyctl" diff whole b.whole -o more
expect_status 0 ctl a apply more
ctl a export -o whole 2>said
same whole b.whole

# --- damage ---
bytes=$(size_of some)
for ((n = 0; n < bytes; n += 17)); do
    head -c "$n" some >short
    expect_status 1 ctl b apply short
    expect_like "cut at $n" 'at byte [0-9]+: .*nothing was applied$' "$output"
    expect "the node itself, cut at $n" 400 "$(http_status b /v1/apply --data-binary @short)"
done
for ((n = 0; n < bytes; n += 13)); do
    python3 -c 'import sys
data = bytearray(open("some", "rb").read()); data[int(sys.argv[1])] ^= 1 << int(sys.argv[1]) % 8
open("flipped", "wb").write(data)' "$n"
    expect_status 1 ctl b apply flipped
    expect_like "flipped at $n" 'at byte [0-9]+: .*nothing was applied$' "$output"
    expect_status 2 "$tallyctl" diff flipped whole
    expect "the node itself, flipped at $n" 400 "$(http_status b /v1/apply --data-binary @flipped)"
done
ctl b export -o after 2>said
same after b.whole
# What a node takes is bounded, and it says by how much.
head -c 1100000 /dev/zero >large
expect_like "what is too large" '1 MiB' "$(http b /v1/apply --data-binary @large)"
expect_status 1 ctl b apply nosuch

# --- durable, and the directory of a node that is stopped ---
kill_node b
start_node b
ctl b export -o again 2>said
same again b.whole
expect_status 1 "$tallyctl" export --store b/data -o held
expect_like "the lock is respected" 'in use by process [0-9]+' "$output"
expect_status 1 "$tallyctl" apply some --store b/data
stop_node b
before=$(find b/data -type f -exec sha256sum {} + | sort)
expect_status 0 "$tallyctl" export --store b/data -o stored
same stored b.whole
expect_status 0 "$tallyctl" explain em:e --store b/data
expect_like "explain from a log" 'em:e  epoch_max, 2 dots' "$output"
expect "reading changes nothing" "$before" "$(find b/data -type f -exec sha256sum {} + | sort)"
expect_status 1 "$tallyctl" export --store nosuch -o none
[ ! -e nosuch ] || fail "a directory was made"

start_node c
stop_node c
expect_status 0 "$tallyctl" apply whole --store c/data
expect_like "apply to a directory" '^[0-9]+ of [0-9]+ dots were new here$' "$output"
head -c 100 whole >short
expect_status 1 "$tallyctl" apply short --store c/data
start_node c
ctl c export -o c.whole 2>said
same c.whole whole
expect_unlike "its life went on" 'new life' "$(cat c/log)"

# --- peers get what was applied ---
start_node d -o join="$(addresses c)"
wait_until sees d 1
ctl a incr fresh 3 >/dev/null
ctl a export fresh -o fresh 2>said
expect_status 0 ctl c apply fresh
wait_equal c d
expect_status 0 ctl d get fresh
expect "what was applied to a peer" 3 "$output"
expect "no archive was refused there" 0 "$(metric c archives_refused_total)"

# --- forged, read only, too new ---
ctl a export sys: -o sys 2>said
expect_status 1 ctl c apply sys
expect_like "sys: is not applied" 'read_only' "$output"

# --- explain ---
expect_status 0 ctl a explain em:e
expect_like "explain" $'em:e  epoch_max, 2 dots\nstands  20[0-9-]+T[0-9:.]+Z \([0-9]+\) origin [0-9a-f]{16}  put epoch 6 count 0' "$output"
expect "explain --json" 2 "$(ctl a explain em:e -j | json dots | grep -o '"ts"' | wc -l)"
expect_status 0 ctl a explain rl:a:k
expect_like "a bucket" 'bucket  full again at 20' "$output"
expect_status 1 ctl a explain nosuch
http a /v1/counters/kv:one -d '{"value":"newer"}' >/dev/null
ctl a export kv: -o newer 2>said
expect_status 0 "$tallyctl" explain kv:one -f some newer
expect_like "explain of files" $'fell  .*put "first"\n +of two writes the later version wins: ts .*\nstands .*put "newer"' "$output"
expect_status 1 "$tallyctl" explain nosuch -f some newer
expect_status 2 "$tallyctl" explain kv:one some

# --- editing ---
expect_status 0 ctl a get -o keys.json 'kv:*' ctr:2 em:e
python3 - <<'END'
import json
file = json.load(open("keys.json"))
keys = file["keys"]
assert keys["ctr:2"]["value"] == 2, keys
keys["kv:two"]["value"] = "edited"
keys["ctr:2"]["value"] = 12
keys["em:e"]["count"] = 1
json.dump(file, open("keys.json", "w"))
keys["kv:new"] = {"value": "made up"}
json.dump(file, open("absent.json", "w"))
END
expect_status 1 ctl a update --from absent.json
expect_like "an absent key is not edited" 'kv:new: it has no "read"' "$output"
expect_status 0 ctl a get kv:two
expect "and nothing was written" second "$output"
http a /v1/counters/kv:one -d '{"value":"elsewhere"}' >/dev/null
ctl a incr ctr:2 100 >/dev/null
expect_status 0 ctl a update --from keys.json --dry-run
expect_like "a dry run" 'kv:two: would be written' "$output"
expect_status 0 ctl a get kv:two
expect "a dry run writes nothing" second "$output"
expect_status 0 ctl a update --from keys.json
expect_like "the strategy decides" 'ctr:2: it was changed elsewhere since it was read: epoch_sum adds both' "$output"
expect_like "how many" '3 of [0-9]+ keys edited' "$output"
expect_unlike "no conflict" 'kv:two: it was changed' "$output"
expect_status 0 ctl a get kv:one
expect "another key survives" elsewhere "$output"
expect_status 0 ctl a get kv:two
expect "what was edited" edited "$output"
expect_status 0 ctl a get ctr:2
expect "both count" 112 "$output"
expect_status 0 ctl a get em:e
expect "epoch_max is edited" 'epoch 6 count 1' "$output"
ctl a get -o keys.json kv:two 2>said
http a /v1/counters/kv:two -X DELETE
sed -i '0,/"edited"/s//"too late"/' keys.json
expect_status 1 ctl a update --from keys.json
expect_like "a key that is gone meanwhile" 'kv:two: it is absent now' "$output"
expect_status 1 ctl a get -o none.json nosuch
expect_status 2 ctl a update
expect_status 1 ctl a update --from whole

# --- what cannot be written is not the server's fault, and takes nothing away that was there ---
# within KIB COMMAND...: as on a disk that has so much room left.
within() (
    trap '' XFSZ
    ulimit -f "$1"
    "${@:2}"
)
printf '{"value":"%s"}' "$(head -c 30000 /dev/urandom | base64 -w0)" >large
http a /v1/counters/kv:large -d @large >/dev/null
expect_status 1 within 2 ctl a export -o cannot
expect "no room for an export" 'tallyctl: cannot: File too large' "$output"
expect_status 1 within 2 ctl a backup cannot
expect "no room for a backup" 'tallyctl: cannot.part: File too large' "$output"
expect_status 1 test -e cannot -o -e cannot.part
expect_status 1 ctl a export -o nosuch/file
expect "no directory for it" 'tallyctl: nosuch/file: No such file or directory' "$output"
ln -s elsewhere link
expect_status 1 within 2 ctl a export -o link
ctl a export -o larger 2>said
expect_status 2 within 2 "$tallyctl" diff whole larger -o link
# shellcheck disable=SC2016  # the inner shell expands it
expect_status 2 within 0 bash -c '"$0" diff some whole >nowhere' "$tallyctl"
expect "no room for what is printed" 'tallyctl: standard output: File too large' "$output"
expect "what is no file is not removed" elsewhere "$(readlink link)"
cp whole kept
expect_status 3 "$tallyctl" -s 127.0.0.1:1 export -o kept
expect_status 0 cmp whole kept

# --- fold reads deadlines ---
printf '%s\n' '{"id":"d","strategy":"lww","ops":[{"op":"put","ts":7,"origin":1,"value":"x","deadline_ms":99}]}' >one
expect "a deadline stays" 99 "$("$tallyctl" fold one | json dots.0.deadline_ms)"
