-- KEYS: live, until, expected. ARGV: id, or nothing for all.
-- Returns id, announcement and expected tunnels of each PoP that is online, in turn.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ids = {}
if ARGV[1] then
  local till = redis.call('ZSCORE', KEYS[2], ARGV[1])
  if till and tonumber(till) > now then ids[1] = ARGV[1] end
else
  ids = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. string.format('%.0f', now), '+inf')
end
local found = {}
for _, id in ipairs(ids) do
  local announcement = redis.call('HGET', KEYS[1], id)
  if announcement then
    found[#found + 1] = id
    found[#found + 1] = announcement
    found[#found + 1] = redis.call('HGET', KEYS[3], id) or '0'
  end
end
return found
