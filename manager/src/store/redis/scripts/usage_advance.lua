-- KEYS: streams of a PoP. ARGV: stream, sequence of a batch that is counted.
-- Returns the last sequence before; the batch is this call's if it follows that.
local last = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
if tonumber(ARGV[2]) == last + 1 then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  -- No sessions of former streams run any more.
  if last == 0 then redis.call('HSET', KEYS[1], 'current', ARGV[1]) end
end
return last
