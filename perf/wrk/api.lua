-- What operators and PoPs ask the manager for: users one by one, the list of nodes, its health.
-- TITAN_PERF_AUTHORIZATION: value of Authorization.

wrk.headers["Authorization"] = os.getenv("TITAN_PERF_AUTHORIZATION")

local paths = {
    "/api/v1/users/perf",
    "/api/v1/users/perf",
    "/api/v1/nodes",
    "/healthz",
}
local turn = 0

function request()
    turn = turn % #paths + 1
    return wrk.format("GET", paths[turn])
end

-- One line of JSON, which titan-perf reads.
function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '{"requests": %d, "failed": %d, "microseconds": %d, "p99_us": %d}\n',
        summary.requests,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout,
        summary.duration,
        latency:percentile(99)
    ))
end
