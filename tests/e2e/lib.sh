# shellcheck shell=bash
# tests/e2e/lib.sh: nodes, clients and comparisons, for scenes. tests/e2e/run starts a scene in a fresh directory with
#
#     TALLY_BUILD  where tallyd and tallyctl are     TALLY_E2E  where the scenes are     TALLY_SLOW  not empty: a sanitizer is in
#
# A node NAME lives in ./NAME: data/, what it wrote to stdout (out) and to stderr (log, of all its runs). When a scene ends, every
# node still running is stopped, and one that ends abnormally, or a sanitizer's report in a log, fails the scene.

set -Eeuo pipefail
shopt -s inherit_errexit
export PYTHONDONTWRITEBYTECODE=1

# shellcheck disable=SC2034  # some ports are for scenes
declare -A pid=() resp_port=() http_port=() peers_port=() grpc_port=() debug_port=()
# By how much the wall clock of a node is behind; of one that is not here, by nothing. For scenes.
declare -A wall_back_ms=()
# The file in which a node counts what it allocates (allocations.c); of one that is not here, none. For scenes.
# shellcheck disable=SC2034
declare -A counts_in=()
# While this file is there a node's disk refuses (refuse.c); of one that is not here, never. For scenes.
# shellcheck disable=SC2034
declare -A refuses_in=()
# Processes other than nodes; what is left of them at the end is killed.
helpers=()
comparisons=0
tallyd=$TALLY_BUILD/tallyd
tallyctl=$TALLY_BUILD/tallyctl
# Seconds in which anything that is waited for has to happen.
patience_s=30
# Seconds in which nodes that are not disturbed agree. For scenes.
# shellcheck disable=SC2034
within_s=5
# shellcheck disable=SC2034
if [ -n "$TALLY_SLOW" ]; then patience_s=60 within_s=20; fi

# --- results ---------------------------------------------------------------

fail() {
    printf 'failed: %s\n' "$*"
    trap - ERR
    exit 1
}

skip() {
    printf '%s\n' "$*"
    trap - EXIT
    exit 77
}

# Shown also when the scene passes.
note() {
    printf 'note: %s\n' "$*"
}

need() {
    local program
    for program; do
        command -v "$program" >/dev/null || skip "no $program here: tools/bootstrap test"
    done
}

# expect WHAT WANTED GOT
expect() {
    comparisons=$((comparisons + 1))
    [ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"
}

# expect_like WHAT REGEXP GOT
expect_like() {
    comparisons=$((comparisons + 1))
    [[ $3 =~ $2 ]] || fail "$1: expected a match of '$2', got '$3'"
}

# expect_unlike WHAT REGEXP GOT
expect_unlike() {
    comparisons=$((comparisons + 1))
    [[ ! $3 =~ $2 ]] || fail "$1: expected no match of '$2', got '$3'"
}

# expect_between WHAT LEAST MOST GOT
expect_between() {
    comparisons=$((comparisons + 1))
    [[ $4 =~ ^-?[0-9]+$ ]] || fail "$1: expected a number, got '$4'"
    (($4 >= $2 && $4 <= $3)) || fail "$1: expected $2 to $3, got $4"
}

# expect_status WANTED COMMAND...: runs it; what it wrote is in $output, both streams together.
output=
expect_status() {
    local wanted=$1 status=0
    shift
    output=$("$@" 2>&1) || status=$?
    comparisons=$((comparisons + 1))
    [ "$status" -eq "$wanted" ] || fail "$*: expected status $wanted, got $status: $output"
}

# python PROGRAM ARGUMENT...: one of ours, which compares by itself and says why it fails.
python() {
    local program=$1
    shift
    comparisons=$((comparisons + 1))
    python3 "$TALLY_E2E/$program" "$@"
}

# --- time ------------------------------------------------------------------

now_ms() {
    printf '%s\n' $((${EPOCHREALTIME/[.,]/} / 1000))
}

# Lets a moment pass: nothing is ever written to this pipe.
exec {never}<> <(:)
moment() {
    read -rt 0.02 -u "$never" || true
}

# holds_within SECONDS COMMAND...: whether it comes true in that time.
holds_within() {
    local deadline=$(($(now_ms) + $1 * 1000))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$(now_ms)" -lt "$deadline" ] || return 1
        moment
    done
}

# wait_until COMMAND...
wait_until() {
    comparisons=$((comparisons + 1))
    holds_within "$patience_s" "$@" || fail "not within $patience_s s: $*"
}

# --- nodes -----------------------------------------------------------------

is_gone() {
    ! kill -0 "$1" 2>/dev/null
}

# "ready resp=… http=… peers=…", and grpc=… and debug=… when those doors are open, is the whole of what a node writes to stdout.
read_ready() {
    local line
    line=$(cat "$1/out")
    [[ $line =~ ^ready\ resp=([^ ]+)\ http=([^ ]+)\ peers=([^ ]+)(\ grpc=([^ ]+))?(\ debug=([^ ]+))?$ ]] || return 1
    # A door may be closed, or be a socket in the file system: then there is no port.
    [[ ${BASH_REMATCH[1]} != *:[0-9]* ]] || resp_port[$1]=${BASH_REMATCH[1]##*:}
    [[ ${BASH_REMATCH[2]} != *:[0-9]* ]] || http_port[$1]=${BASH_REMATCH[2]##*:}
    [[ ${BASH_REMATCH[3]} != *:[0-9]* ]] || peers_port[$1]=${BASH_REMATCH[3]##*:}
    # shellcheck disable=SC2034
    [[ ${BASH_REMATCH[5]} != *:[0-9]* ]] || grpc_port[$1]=${BASH_REMATCH[5]##*:}
    # shellcheck disable=SC2034
    [[ ${BASH_REMATCH[7]} != *:[0-9]* ]] || debug_port[$1]=${BASH_REMATCH[7]##*:}
}

# A port that the kernel gives no connection that somebody makes meanwhile, so that a node that is started again finds it free.
free_port() {
    local first port
    read -r first _ </proc/sys/net/ipv4/ip_local_port_range
    [ "$first" -gt 12000 ] || first=32768
    until port=$((10000 + (RANDOM * 32768 + RANDOM) % (first - 10000))) &&
        ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}

launch() {
    local name=$1 as=()
    shift
    if [ -n "${wall_back_ms[$name]:-}" ]; then
        [ -f "$TALLY_BUILD/tests/e2e/wall.so" ] || fail "no wall.so in $TALLY_BUILD: make scenes"
        # A sanitizer wants to be the first library, and is not.
        as=(env LD_PRELOAD="$TALLY_BUILD/tests/e2e/wall.so" WALL_BACK_MS="${wall_back_ms[$name]}"
            ASAN_OPTIONS="${ASAN_OPTIONS:-}:verify_asan_link_order=0")
    fi
    if [ -n "${counts_in[$name]:-}" ]; then
        [ -f "$TALLY_BUILD/tests/e2e/allocations.so" ] || fail "no allocations.so in $TALLY_BUILD: make scenes"
        as=(env LD_PRELOAD="$TALLY_BUILD/tests/e2e/allocations.so" ALLOCATIONS="${counts_in[$name]}")
    fi
    if [ -n "${refuses_in[$name]:-}" ]; then
        [ -f "$TALLY_BUILD/tests/e2e/refuse.so" ] || fail "no refuse.so in $TALLY_BUILD: make scenes"
        as=(env LD_PRELOAD="$TALLY_BUILD/tests/e2e/refuse.so" REFUSES_IN="${refuses_in[$name]}"
            ASAN_OPTIONS="${ASAN_OPTIONS:-}:verify_asan_link_order=0")
    fi
    mkdir -p "$name"
    : >"$name/out"
    # What was chosen at the first start is kept at the next, for the others dial it.
    : "${resp_port[$name]:=$(free_port)}" "${http_port[$name]:=$(free_port)}" "${peers_port[$name]:=$(free_port)}"
    "${as[@]}" "$tallyd" -o name="$name" -o data="$PWD/$name/data" -o resp="127.0.0.1:${resp_port[$name]}" \
        -o http="127.0.0.1:${http_port[$name]}" -o peers="127.0.0.1:${peers_port[$name]}" \
        "$@" >"$name/out" 2>>"$name/log" &
    pid[$name]=$!
    echo $! >>pids
}

is_ready_or_gone() {
    [ -s "$1/out" ] || is_gone "${pid[$1]}"
}

# start_node NAME [OPTION OF TALLYD]...: returns when it is ready.
start_node() {
    launch "$@"
    holds_within "$patience_s" is_ready_or_gone "$1" || fail "$1 was not ready within $patience_s s"
    holds_within 1 read_ready "$1" || fail "$1 did not start: $(tail -n 3 "$1/log") $(cat "$1/out")"
    read_ready "$1"
}

# node_ends NAME SECONDS: waits for that; its status is in $status.
status=
node_ends() {
    status=0
    holds_within "$2" is_gone "${pid[$1]}" || fail "$1 did not end within $2 s"
    wait "${pid[$1]}" 2>/dev/null || status=$?
    unset "pid[$1]"
}

stop_node() {
    kill -TERM "${pid[$1]}"
    node_ends "$1" "$patience_s"
    expect "status of $1 after TERM" 0 "$status"
}

kill_node() {
    kill -KILL "${pid[$1]}"
    node_ends "$1" "$patience_s"
    expect "status of $1 after KILL" 137 "$status"
}

# written LOG: bytes of it without the room that a crash left behind its end.
written() {
    python3 -c 'import sys; print(len(open(sys.argv[1], "rb").read().rstrip(b"\0")))' "$1"
}

# tear LOG BYTES: what a crash of the machine would leave that came in the middle of a record.
tear() {
    rm -f "$(dirname "$1")/recent"
    truncate -s "$(($(written "$1") - $2))" "$1"
}

freeze_node() {
    kill -STOP "${pid[$1]}"
    wait_until grep -q '^State:.*stopped' "/proc/${pid[$1]}/status"
}

thaw_node() {
    kill -CONT "${pid[$1]}"
}

# rss_kb NAME
rss_kb() {
    awk '/^VmRSS:/ { print $2 }' "/proc/${pid[$1]}/status"
}

logged() {
    grep -qE -e "$2" "$1/log"
}

# expect_logged NAME REGEXP
expect_logged() {
    comparisons=$((comparisons + 1))
    holds_within "$patience_s" logged "$1" "$2" || fail "nothing like '$2' in the log of $1"
}

# --- clients ---------------------------------------------------------------

# npm ci installs exactly what the lock file says; it is done again when that changed.
install_clients() {
    local installed=$TALLY_E2E/node_modules/.package-lock.json
    [ ! "$installed" -nt "$TALLY_E2E/package-lock.json" ] || return 0
    (
        flock 9
        cd "$TALLY_E2E"
        npm ci --no-audit --no-fund --loglevel=error >"$OLDPWD/npm.out" 2>&1 && touch "$installed"
    ) 9<"$TALLY_E2E/package-lock.json"
}

# resp NAME ARGUMENT OF REDIS-CLI...
resp() {
    local name=$1
    shift
    redis-cli -p "${resp_port[$name]}" "$@" </dev/null
}

# http NAME PATH OPTION OF CURL...
http() {
    local name=$1 path=$2
    shift 2
    curl -sS -m 20 --noproxy '*' "$@" "http://127.0.0.1:${http_port[$name]}$path"
}

# http_status NAME PATH OPTION OF CURL...
http_status() {
    http "$@" -o /dev/null -w '%{http_code}'
}

ctl() {
    local name=$1
    shift
    "$tallyctl" -s "http://127.0.0.1:${http_port[$name]}" "$@"
}

# metric NAME SERIES
metric() {
    http "$1" /metrics | awk -v s="tally_$2" '$1 == s { print $2 }'
}

# json FIELD.FIELD…: of the document on standard input.
json() {
    python3 -c 'import json, sys
value = json.load(sys.stdin)
for name in sys.argv[1].split("."):
    value = value[int(name) if isinstance(value, list) else name]
print(json.dumps(value) if not isinstance(value, str) else value)' "$1"
}

# count_on OPTION OF COUNT.PY...: counts until it has counted enough; what it says is in count.out.
counter=
count_on() {
    python3 "$TALLY_E2E/count.py" --increments 10000000 --breaks 1 --within "$within_s" "$@" >count.out 2>&1 &
    counter=$!
    helpers+=("$counter")
}

# The counter is told that it is enough, and all that it was told is compared.
counted_enough() {
    local result=0
    expect "the counting goes on" yes "$(is_gone "$counter" || echo yes)"
    kill -USR1 "$counter"
    wait "$counter" || result=$?
    cat count.out
    expect "status of what counts" 0 "$result"
}

# --- clusters --------------------------------------------------------------

# sees NAME N: it has sessions with so many peers, and no more.
sees() {
    [ "$(http "$1" /metrics | grep -c '^tally_peer_up{.*} 1$')" -eq "$2" ]
}

# What to join to meet these nodes.
addresses() {
    local name list=
    for name; do list+=",127.0.0.1:${peers_port[$name]}"; done
    printf '%s\n' "${list#,}"
}

# start_cluster NAME... [-- OPTION OF TALLYD...]: nodes that all see each other.
start_cluster() {
    local names=() name
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        names+=("$1")
        shift
    done
    [ $# -eq 0 ] || shift
    start_node "${names[0]}" "$@"
    for name in "${names[@]:1}"; do start_node "$name" -o join="$(addresses "${names[0]}")" "$@"; done
    for name in "${names[@]}"; do wait_until sees "$name" $((${#names[@]} - 1)); done
}

# life NAME: the origin under which it counts now.
life() {
    http "$1" /v1/cluster | json origin
}

digest() {
    http "$1" '/v1/cluster?digest=1' | sed -n 's/.*"digest" *: *"\([0-9a-f]*\)".*/\1/p'
}

are_equal() {
    local first name
    first=$(digest "$1")
    [ -n "$first" ] || return 1
    for name in "${@:2}"; do [ "$(digest "$name")" = "$first" ] || return 1; done
}

# wait_equal NAME...: until all hold the same.
wait_equal() {
    wait_until are_equal "$@"
}

# --- links -----------------------------------------------------------------

declare -A over=()

# start_link NAME TARGET [OPTION OF TALLY-LINK]...: one that leads to this address; its own is ${over[NAME]}.
start_link() {
    local name=$1 target=$2 line said
    shift 2
    mkfifo "$name.ready"
    "$TALLY_BUILD/tally-link" -c "$PWD/$name.control" "$@" "127.0.0.1:0=$target" >"$name.ready" &
    helpers+=($!)
    exec {said}<"$name.ready"
    read -r line <&"$said"
    [[ $line =~ ^ready\ 127.0.0.1:([0-9]+)= ]] || fail "tally-link says: $line"
    # For scenes.
    # shellcheck disable=SC2034
    over[$name]=127.0.0.1:${BASH_REMATCH[1]}
}

# tell_link NAME COMMAND: its answer.
tell_link() {
    python3 -c 'import socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect(sys.argv[1])
link.sendall(sys.argv[2].encode() + b"\n")
print(link.makefile().readline().rstrip())' "$1.control" "$2"
}

# --- the end ---------------------------------------------------------------

stop_all() {
    local name
    for name in "${!pid[@]}"; do kill -CONT "${pid[$name]}" 2>/dev/null || true; done
    for name in "${!pid[@]}"; do kill -TERM "${pid[$name]}" 2>/dev/null || true; done
    for name in "${!pid[@]}"; do
        holds_within "$patience_s" is_gone "${pid[$name]}" || { echo "failed: $name did not end"; return 1; }
        wait "${pid[$name]}" 2>/dev/null || { echo "failed: $name ended with status $?"; return 1; }
    done
}

finish() {
    local result=$? name
    trap - EXIT ERR
    set +e
    if [ "$result" -eq 0 ] && ! stop_all; then result=1; fi
    for name in "${pid[@]}" "${helpers[@]}"; do kill -KILL "$name" 2>/dev/null; done
    { wait; } 2>/dev/null
    if grep -E 'ERROR: [A-Z][a-zA-Z]*Sanitizer|runtime error: |WARNING: ThreadSanitizer|Assertion .* failed' ./*/log 2>/dev/null; then
        echo 'failed: a daemon broke'
        result=1
    fi
    if [ "$result" -eq 0 ] && [ "$comparisons" -eq 0 ]; then
        echo 'failed: it compared nothing'
        result=1
    fi
    exit "$result"
}

trap finish EXIT
trap 'exit 124' TERM INT
trap 'echo "failed: ${BASH_SOURCE[0]##*/} line $LINENO: $BASH_COMMAND"' ERR

need curl python3
