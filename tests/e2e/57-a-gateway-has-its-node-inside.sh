#!/usr/bin/env bash
# What make install puts down is enough for a C program: pkg-config, one header, the library; two such gateways count together.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
need curl pkg-config make
root=$TALLY_E2E/../..
variant=$(basename "$TALLY_BUILD")
clang=$(case $variant in *-clang) echo clang ;; *) echo gcc ;; esac)

env -u MAKEFLAGS -u MAKELEVEL make -s -C "$root" VARIANT="${variant%-clang}" CC="$clang" PREFIX="$PWD/installed" install >make.out 2>&1 || fail "make install: $(tail -n 3 make.out)"
export PKG_CONFIG_PATH=$PWD/installed/lib/pkgconfig LD_LIBRARY_PATH=$PWD/installed/lib
expect "the version that pkg-config knows" "$("$TALLY_BUILD/tallyd" -V | cut -d' ' -f2)" "$(pkg-config --modversion libtally)"
# What the library is made of changes nothing about how a program is compiled: with libbsd's headers it could have no strlcpy of its own.
expect "what it is compiled with" "-I$PWD/installed/include" "$(pkg-config --cflags libtally | xargs)"

# Shared and static; what was made with a sanitizer is static alone.
builds=(static)
sanitize=()
case $variant in
asan*) sanitize=("-fsanitize=address,undefined") ;;
tsan*) sanitize=(-fsanitize=thread) ;;
*) builds+=(shared) ;;
esac
for build in "${builds[@]}"; do
    if [ "$build" = static ]; then
        read -ra flags < <(pkg-config --cflags --libs --static libtally | sed 's,-ltally,-l:libtally.a,')
    else
        read -ra flags < <(pkg-config --cflags --libs libtally)
    fi
    "$clang" -std=c11 -Wall -Wextra -Werror "${sanitize[@]}" -o "gateway-$build" installed/share/doc/tally/examples/gateway.c \
        "${flags[@]}" || fail "the example does not build: $build"
done

cat >tally.yaml <<'END'
limits:
  - {name: clients, key: client, rate: 10/300d, algorithm: fixed_window}
END

# gateway NAME BUILD SETTING...: starts one; its port is in gateway_port[NAME], where its peers dial in gateway_peers[NAME].
declare -A gateway_port gateway_peers gateway_pid
gateway() {
    local name=$1 build=$2
    shift 2
    "./gateway-$build" 0 tally.yaml "name=$name" log=error peers=127.0.0.1:0 "$@" >"$name.ready" 2>"$name.log" &
    gateway_pid[$name]=$!
    helpers+=($!)
    wait_until grep -q '^ready' "$name.ready"
    gateway_port[$name]=$(awk '{ print $2 }' "$name.ready")
    gateway_peers[$name]=$(sed -n 's/.*peers=//p' "$name.ready")
}

# status NAME CLIENT: of one request.
status() {
    curl -s -o /dev/null -w '%{http_code}' -H "X-Client: $2" "http://127.0.0.1:${gateway_port[$1]}/"
}

gateway a static
gateway b "${builds[-1]}" "join=${gateway_peers[a]}"
for ((i = 1; i <= 10; i++)); do expect "alice's request $i to a" 200 "$(status a alice)"; done
expect "alice's request 11 to a" 429 "$(status a alice)"
expect_like "what a says" "Retry-After: [1-9]" "$(curl -s -D - -H 'X-Client: alice' "http://127.0.0.1:${gateway_port[a]}/")"

# Somebody new uses a up, and has come to b for the first time: alone b would admit that.
clients=0
is_told() {
    clients=$((clients + 1))
    for ((i = 0; i < 10; i++)); do status a "client$clients"; done
    [ "$(status b "client$clients")" = 429 ]
}
wait_until is_told
comparisons=$((comparisons + 1))
for name in a b; do
    kill -TERM "${gateway_pid[$name]}"
    wait "${gateway_pid[$name]}" || fail "$name ended with $?: $(cat "$name.log")"
done
