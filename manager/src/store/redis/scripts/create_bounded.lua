-- KEYS: records, ids. ARGV: id, record, most records.
-- Returns 'done', 'taken', or 'full' where there are so many.
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return 'full' end
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 'taken' end
redis.call('ZADD', KEYS[2], 0, ARGV[1])
return 'done'
