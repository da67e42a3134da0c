-- KEYS: records, ids. ARGV: id, record, now, when it expires, most records, seconds a record is kept.
-- Times are in seconds by the manager's clock. Returns {'granted', ''}, {'known', record} or {'full', ''}.
-- Some of those that have expired are forgotten each time, so that no call has much to do.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[3], 'LIMIT', 0, 16)) do
  redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
end
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known and tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or '0') > tonumber(ARGV[3]) then
  return {'known', known}
end
if not known and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[5]) then return {'full', ''} end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[6])
redis.call('EXPIRE', KEYS[2], ARGV[6])
return {'granted', ''}
