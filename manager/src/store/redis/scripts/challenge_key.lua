-- KEYS: challenge key. ARGV: a key to take if there is none of this run of the server.
-- A server that starts anew, or a replica that takes over, may have lost nonces that were claimed.
-- It has another run id, and with it goes every challenge made before.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local known = redis.call('HMGET', KEYS[1], 'run', 'key')
if known[1] == run and known[2] then return known[2] end
redis.call('HSET', KEYS[1], 'run', run, 'key', ARGV[1])
return ARGV[1]
