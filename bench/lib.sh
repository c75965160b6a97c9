# shellcheck shell=bash
# bench/lib.sh: servers for a benchmark, and a directory, which end with it. The caller has set `build`.

dir=$(mktemp -d)
# What a tallyd said when it was ready is in said[SIDE].
declare -A pid endpoint said
: "${build:?}"

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# shellcheck disable=SC2329  # the trap calls it
clean_up() {
    for p in "${pid[@]}"; do
        kill "$p" 2>/dev/null && wait "$p" 2>/dev/null
    done
    rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

# reaches SERVER: does it answer within five seconds? No when it has ended.
reaches() {
    local tries
    for ((tries = 0; tries < 100; tries++)); do
        kill -0 "${pid[$1]}" 2>/dev/null || return 1
        # shellcheck disable=SC2086  # an endpoint is two words
        [ "$(redis-cli ${endpoint[$1]} ping 2>/dev/null)" = PONG ] && return 0
        sleep 0.05
    done
    return 1
}

# redis-server wants the number of a port: one is tried after another until it can be had. What is in `redis_options` comes last.
redis_options=()
start_redis() {
    local tries port
    for ((tries = 0; tries < 20; tries++)); do
        port=$((20000 + RANDOM % 40000))
        redis-server --bind 127.0.0.1 --port "$port" --unixsocket "$dir/redis.sock" --dir "$dir" \
            --save '' --appendonly no --daemonize no --loglevel warning "${redis_options[@]}" >"$dir/redis.log" 2>&1 &
        pid[redis]=$!
        endpoint[redis]="-p $port"
        reaches redis && break
        wait "${pid[redis]}" 2>/dev/null || :
        unset 'pid[redis]'
    done
    [ -n "${pid[redis]:-}" ] || fail "redis-server does not start: $(tail -n 1 "$dir/redis.log")"
}

redis_version() {
    redis-server --version | sed 's/.*v=\([^ ]*\).*/\1/'
}

# start_tally SIDE ADDRESS [OPTION]...: where it listens is in the line it prints when it is ready. What is in `under` runs it.
under=()
start_tally() {
    local side=$1 address=$2 ready resp
    shift 2
    mkfifo "$dir/$side.ready"
    "${under[@]}" "$build/tallyd" -o name="$side" -o data=none -o resp="$address" -o http=none -o peers=none "$@" \
        >"$dir/$side.ready" 2>"$dir/$side.log" &
    pid[$side]=$!
    read -r -t 10 ready <"$dir/$side.ready" || fail "tallyd does not start: $(tail -n 1 "$dir/$side.log")"
    # shellcheck disable=SC2034  # it is the caller's
    said[$side]=$ready
    resp=${ready#*resp=}
    resp=${resp%% *}
    case $resp in
    unix:*) endpoint[$side]="-s ${resp#unix:}" ;;
    *) endpoint[$side]="-p ${resp##*:}" ;;
    esac
    reaches "$side" || fail "tallyd says it is ready ($ready) but does not answer"
}

# stop_server SIDE
stop_server() {
    kill "${pid[$1]}"
    wait "${pid[$1]}" 2>/dev/null || :
    unset "pid[$1]"
}

# cpu_ticks SIDE: what the process has used, in ticks. The name in the second field may hold anything.
cpu_ticks() {
    local stat
    stat=$(<"/proc/${pid[$1]}/stat")
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    echo $((${12} + ${13}))
}
