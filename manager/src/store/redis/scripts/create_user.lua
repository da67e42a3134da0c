-- KEYS: records, ids, last version, usage of the name. ARGV: name, user.
-- Returns the user's version, 0 where the name is taken.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 0 end
-- Never below the clock in milliseconds: a server that lost its last writes (a replica that took
-- over) must not give a version to another state than it did before.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local version = math.max(now, tonumber(redis.call('GET', KEYS[3]) or '0') + 1)
local text = string.format('%.0f', version)
redis.call('SET', KEYS[3], text)
redis.call('HSET', KEYS[1], ARGV[1], text .. ' ' .. ARGV[2])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
-- Whoever had the name before, this user has used nothing.
redis.call('UNLINK', KEYS[4])
return version
