-- KEYS: records, outbox. ARGV: id, time in seconds, what to tell, most events.
-- Returns the event's place in the outbox, nothing where there is no such record.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return false end
return redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', 'at', ARGV[2], 'change', ARGV[3])
