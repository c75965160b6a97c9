#!/usr/bin/env bash
# Once a node is warm the requests of the hot paths allocate nothing, one by one and in pipelines: counted in the process itself.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

cat >tally.yaml <<'END'
limits:
  - name: small
    key: tenant
    rate: 5/300d
  - name: large
    key: tenant
    rate: 1000000/300d
END
# A sanitizer has an allocator of its own, which cannot be counted: there the requests are only asked.
count=-
if [ -z "$TALLY_SLOW" ]; then counts_in[a]=$PWD/count count=$PWD/count; fi
start_node a -o data=none -o peers=none -f "$PWD/tally.yaml"
expect_status 0 python3 "$TALLY_E2E/allocations.py" "${resp_port[a]}" "${http_port[a]}" "$count"
printf '%s\n' "$output"
