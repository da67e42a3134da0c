-- KEYS: set of points, then points past their time. ARGV: the begins of these.
redis.call('ZREM', KEYS[1], unpack(ARGV))
for index = 2, #KEYS do redis.call('UNLINK', KEYS[index]) end
return 1
