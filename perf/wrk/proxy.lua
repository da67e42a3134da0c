-- Requests to nginx through the proxy port, absolute-form, each with the user's password.
-- TITAN_PERF_URL: what to ask for; TITAN_PERF_AUTHORIZATION: value of Proxy-Authorization.

wrk.path = os.getenv("TITAN_PERF_URL")
wrk.headers["Host"] = wrk.path:match("^http://([^/]+)")
wrk.headers["Proxy-Authorization"] = os.getenv("TITAN_PERF_AUTHORIZATION")

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
