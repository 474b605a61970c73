-- What wrk sends. Arguments after "--": MODE FILE [OUT]
--
--   cycle    the requests of FILE again and again
--   once     each request of FILE at most once; the thread stops when they are used up
--   hold     as once, but a connection waits a little before each request
--   collect  as once, and each answer's body becomes a line of OUT
--   refresh  FILE holds refresh tokens; each answer's new token is queued for later. Further
--            arguments: the body's type, and the body up to the token and behind it
--
-- A line of FILE (not in mode refresh): METHOD PATH CONTENT-TYPE TOKEN BODY, separated by tabs, "-"
-- for nothing. At the end one line "BENCH key=value …" for the program that started wrk.
local ffi = require("ffi")
ffi.cdef [[
    typedef struct { long sec, nsec; } sa_time_t;
    int clock_gettime(int clock, sa_time_t *now);
    int getpid(void);
    int kill(int pid, int signal);
]]

local threads = {}

local function clock()
    local now = ffi.new("sa_time_t")
    ffi.C.clock_gettime(1, now)
    return tonumber(now.sec) + tonumber(now.nsec) / 1e9
end

function setup(thread)
    table.insert(threads, thread)
end

local function read_lines(path)
    local lines = {}
    for line in io.lines(path) do
        lines[#lines + 1] = line
    end
    return lines
end

local function to_request(line)
    local method, path, kind, token, body =
        line:match("^([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t(.*)$")
    local headers = {}
    if kind ~= "-" then headers["Content-Type"] = kind end
    if token ~= "-" then headers["Authorization"] = "Bearer " .. token end
    return wrk.format(method, path, headers, body ~= "-" and body or nil)
end

local lines, at, out, queue, first, last, path, got, kind, before, behind
sent, began, ended = 0, 0, 0            -- globals: done() reads them

local nothing = "GET /empty HTTP/1.1\r\nHost: localhost\r\n\r\n"

-- All is used up: no need to wait for the end of -d.
local function finish()
    if ended == 0 then
        ended = clock()
        wrk.thread:stop()
        ffi.C.kill(ffi.C.getpid(), 2)
    end
end

local function cycle()
    at = at % #lines + 1
    return lines[at]
end

-- Requests are formatted when they are due: tens of thousands of them would take long before.
local function once()
    if sent >= #lines then
        if not out then finish() end
        return nothing
    end
    if sent == 0 then began = clock() end
    sent = sent + 1
    return to_request(lines[sent])
end

local function keep_body(status, headers, body)
    if ended > 0 then return end
    if status ~= 200 then
        out:write(status, " ", (body:gsub("[\r\n]", "")), "\n")
    elseif #body > 0 then
        out:write((body:gsub("[\r\n]", "")), "\n")
        got = got + 1
    end
    if status ~= 200 or got == #lines then
        out:close()
        finish()
    end
end

local function next_refresh()
    if first > last then
        return "GET /the-queue-is-empty HTTP/1.1\r\nHost: localhost\r\n\r\n"        -- a 404
    end
    local token = queue[first]
    queue[first] = nil
    first = first + 1
    return wrk.format("POST", path, { ["Content-Type"] = kind }, before .. token .. behind)
end

local function queue_refresh(status, headers, body)
    local token = body:match('"refresh[_token]*"%s*:%s*"([^"]+)"')
    if token then
        last = last + 1
        queue[last] = token
    end
end

-- wrk asks for one request before it begins, to look at it; that one is not sent.
local function after_the_first(real)
    local asked = false
    return function()
        if asked then return real() end
        asked = true
        return nothing
    end
end

function init(args)
    local mode = args[1]
    path = wrk.path
    lines = read_lines(args[2])
    if mode == "refresh" then
        queue, first, last = lines, 1, #lines
        kind, before, behind = args[3], args[4], args[5] or ""
        request, response = after_the_first(next_refresh), queue_refresh
    elseif mode == "cycle" then
        for i, line in ipairs(lines) do lines[i] = to_request(line) end
        at = 0
        request = cycle
    else
        request = after_the_first(once)
        if mode == "hold" then
            delay = function() return 200 end
        end
        if mode == "collect" then
            out, got = assert(io.open(args[3], "w")), 0
            response = keep_body
        end
    end
end

function done(summary, latency, requests)
    local e, seconds, count = summary.errors, summary.duration / 1e6, summary.requests
    local t = threads[1]
    if (t:get("ended") or 0) > 0 then
        seconds, count = t:get("ended") - t:get("began"), t:get("sent")
    end
    print(string.format("BENCH requests=%d seconds=%.6f answers=%d p50=%.1f p99=%.1f "
                        .. "refused=%d broken=%d", count, seconds, summary.requests,
                        latency:percentile(50), latency:percentile(99), e.status,
                        e.connect + e.read + e.write + e.timeout))
end
