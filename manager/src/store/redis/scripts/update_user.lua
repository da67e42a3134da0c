-- KEYS: records, last version, usage of the user, outbox.
-- ARGV: name, version as it was read, user as it shall be, whether the package begins anew (1 or 0),
--       time in seconds, most events.
-- Returns the user's new version and the event's place in the outbox, or nothing where the user is gone or has
-- another version by now.
local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record or string.match(record, '^%d+') ~= ARGV[2] then return false end
-- Never below the clock in milliseconds, as in create_user.lua.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local version = math.max(now, tonumber(redis.call('GET', KEYS[2]) or '0') + 1, tonumber(ARGV[2]) + 1)
local text = string.format('%.0f', version)
redis.call('SET', KEYS[2], text)
redis.call('HSET', KEYS[1], ARGV[1], text .. ' ' .. ARGV[3])
if ARGV[4] == '1' then redis.call('HDEL', KEYS[3], 'package-up', 'package-down', 'package-sessions') end
local place = redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[6], '*', 'at', ARGV[5], 'user', ARGV[1], 'version', text)
return {version, place}
