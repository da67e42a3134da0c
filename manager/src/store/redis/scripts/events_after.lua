-- KEYS: log. ARGV: cursor, most events to return, most events kept.
-- Returns the events, nothing where the log does not hold the one at the cursor. 0 stands before all: it is
-- known as long as there are too few for any to have been thrown away.
local id = ARGV[1] .. '-0'
if ARGV[1] == '0' then
  if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[3]) then return false end
elseif #redis.call('XRANGE', KEYS[1], id, id) == 0 then
  return false
end
return redis.call('XRANGE', KEYS[1], '(' .. id, '+', 'COUNT', ARGV[2])
