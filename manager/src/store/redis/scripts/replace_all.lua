-- KEYS: records, ids. ARGV: id, record.
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
return 1
