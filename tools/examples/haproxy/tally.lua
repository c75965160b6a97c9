-- HAProxy asks Tally: haproxy.cfg beside this file loads it, and calls lua.tally with the name of a limit.
-- What the answer says is in variables: txn.tally_status, txn.tally_ratelimit, txn.tally_policy, txn.tally_retry.
-- Over a socket, which costs less: url = "http://tally/check/" .. limit, and beside it dst = "unix@/run/tally/http.sock".
local tally = "http://127.0.0.1:7380"

core.register_action("tally", { "http-req" }, function(txn, limit)
    local answer = core.httpclient():get({
        url = tally .. "/check/" .. limit,
        headers = {
            ["x-forwarded-for"] = { txn.sf:src() },
            ["x-forwarded-host"] = { txn.sf:req_hdr("host") },
            ["x-original-method"] = { txn.sf:method() },
            ["x-original-uri"] = { txn.sf:path() },
        },
        timeout = 100,
    })
    -- While no tallyd answers there is no status, and the request passes, after four times the timeout at the latest.
    if not answer or (answer.status ~= 200 and answer.status ~= 429) then return end
    local function header(name) return (answer.headers[name] or {})[0] or "" end
    txn:set_var("txn.tally_status", answer.status)
    txn:set_var("txn.tally_ratelimit", header("ratelimit"))
    txn:set_var("txn.tally_policy", header("ratelimit-policy"))
    txn:set_var("txn.tally_retry", header("retry-after"))
end, 1)
