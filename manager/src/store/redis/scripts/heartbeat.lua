-- KEYS: state, nodes, staged.
-- ARGV: boot id, sequence, life in milliseconds, 'full' or 'part' or 'unlisted', most nodes of a PoP,
--       seconds between two whole lists, number of nodes that came,
--       node and address of each of them in turn, nodes that left.
-- 'full': the whole list is in staged. 'unlisted': it is part of a list, and too long to be here.
-- Returns 'applied', 'resync' or 'stale', and how many nodes found no place.
local boot_id, sequence, life, kind = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local time = redis.call('TIME')
local known = redis.call('HMGET', KEYS[1], 'boot_id', 'sequence', 'awaits_full', 'full_at')
local same_run = known[1] == boot_id
if same_run and tonumber(sequence) <= tonumber(known[2]) then
  redis.call('UNLINK', KEYS[3])
  return {'stale', 0}
end

local awaits_full = not same_run or known[3] == '1'
local full_at = same_run and known[4] or '0'
if not same_run or kind == 'full' then redis.call('UNLINK', KEYS[2]) end
if kind == 'full' then
  awaits_full, full_at = false, time[1]
  if redis.call('EXISTS', KEYS[3]) == 1 then redis.call('RENAME', KEYS[3], KEYS[2]) end
elseif kind == 'unlisted' then
  awaits_full = true
end

local refused = 0
if kind == 'part' and not awaits_full then
  local came = 7 + 2 * tonumber(ARGV[7])
  for index = came + 1, #ARGV do redis.call('HDEL', KEYS[2], ARGV[index]) end
  local count, now = redis.call('HLEN', KEYS[2]), string.format('%.0f', time[1] * 1000000 + time[2])
  for index = 8, came, 2 do
    local held = redis.call('HGET', KEYS[2], ARGV[index])
    if held or count < tonumber(ARGV[5]) then
      local since = held and string.match(held, '^%d+') or now
      redis.call('HSET', KEYS[2], ARGV[index], since .. ' ' .. ARGV[index + 1])
      if not held then count = count + 1 end
    else
      refused = refused + 1
    end
  end
end

redis.call('HSET', KEYS[1], 'boot_id', boot_id, 'sequence', sequence,
  'awaits_full', awaits_full and '1' or '0', 'full_at', full_at)
redis.call('PEXPIRE', KEYS[1], life)
redis.call('PEXPIRE', KEYS[2], life)
if awaits_full or time[1] - full_at > tonumber(ARGV[6]) then return {'resync', refused} end
return {'applied', refused}
