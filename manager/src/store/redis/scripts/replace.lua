-- KEYS: records. ARGV: id, record as it was read, record as it shall be.
-- Returns 1, or 0 where the record is gone or another by now.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
