-- KEYS: until, expected. ARGV: id.
local life = redis.call('PTTL', KEYS[1])
if life <= 0 or not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
redis.call('PEXPIRE', KEYS[2], life)
return 1
