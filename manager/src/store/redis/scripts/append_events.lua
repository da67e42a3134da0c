-- KEYS: log. ARGV: most events, then time in seconds and what happened, of each event in turn.
-- Returns the cursor of the last. Cursors are never below the clock in milliseconds, for the reason in
-- create_user.lua.
local time = redis.call('TIME')
local cursor = time[1] * 1000 + math.floor(time[2] / 1000)
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if last then cursor = math.max(cursor, tonumber(string.match(last[1], '^%d+')) + 1) end
for index = 2, #ARGV, 2 do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], string.format('%.0f-0', cursor),
    'at', ARGV[index], 'change', ARGV[index + 1])
  cursor = cursor + 1
end
return cursor - 1
