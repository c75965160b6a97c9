#!/usr/bin/env bash
# What our protobuf finds in random and in damaged requests, the real one finds; make check-codec does it a million times.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"
/usr/bin/python3 -c 'import google.protobuf' 2>/dev/null || skip "no python3-protobuf here: tools/bootstrap test"

codec=$TALLY_BUILD/tests/codec/codec
[ -x "$codec" ] || fail "no codec in $TALLY_BUILD: make scenes"
expect_status 0 "$TALLY_E2E/../codec/compare" "$codec" 6000
note "$output"
expect_like "what was compared" '^6000 messages: [0-9]{4} read alike, [0-9]{4} malformed for both; seed [0-9]+$' "$output"
