-- KEYS: records, ids, outbox. ARGV: id, time in seconds, what to tell, most events.
-- Returns the event's place in the outbox, nothing where there was no such record.
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return false end
return redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[4], '*', 'at', ARGV[2], 'change', ARGV[3])
