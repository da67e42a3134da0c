-- KEYS: state, nodes, staged. ARGV: boot id, life in milliseconds, then node and address in turn.
-- A node that this run of the PoP has reported before keeps the time of its first report: where two
-- PoPs say that they hold a node, the one that said so last is right.
local same_run = redis.call('HGET', KEYS[1], 'boot_id') == ARGV[1]
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
for index = 3, #ARGV, 2 do
  local known = same_run and redis.call('HGET', KEYS[2], ARGV[index])
  local since = known and string.match(known, '^%d+') or now
  redis.call('HSET', KEYS[3], ARGV[index], since .. ' ' .. ARGV[index + 1])
end
redis.call('PEXPIRE', KEYS[3], ARGV[2])
return 1
