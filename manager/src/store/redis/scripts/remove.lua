-- KEYS: records, ids. ARGV: id. Returns whether there was such a record.
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('HDEL', KEYS[1], ARGV[1])
