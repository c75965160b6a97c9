#!/usr/bin/env bash
# A second node of a name that meets only a third one is refused with the reason, and the first keeps its sessions.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$TALLY_E2E/lib.sh"

says_why() {
    logged b 'one name' || logged twin 'one name' || logged a 'one name'
}

start_cluster a b
start_node twin -o name=a -o join="$(addresses b)"
holds_within "$patience_s" says_why || note "in $patience_s s there were $(metric b sessions_up_total) sessions on b, and no reason in any log"
wait_until says_why
expect_between "sessions that came up on b" 1 20 "$(metric b sessions_up_total)"
wait_until sees a 1
