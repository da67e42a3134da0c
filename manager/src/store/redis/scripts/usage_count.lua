-- KEYS: counted, then of each resolution in turn the set of its points and the batch's point,
--       then usage of each user in turn.
-- ARGV: PoP, stream, sequence, time, most points that are told to be past their time,
--       users of the batch in this part before these,
--       of each resolution in turn begin of the point, first begin that is kept and life of a point
--       in seconds,
--       of each user in turn name, bytes up, bytes down, sessions, sessions running.
-- A batch is the same whenever it comes: its sequence and how many of its users are counted tell
-- which are left. Returns nothing where users before these are not counted, else of each resolution
-- in turn the points that are past their time; an empty list where all were counted before.
local RESOLUTIONS, FIXED, OF_POINT, OF_USER = 3, 6, 3, 5
local MOST, MOST_OF_POINT = '9223372036854775807', 9007199254740992
local pop, stream, sequence, before = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[6])
local users, counted = #KEYS - 1 - 2 * RESOLUTIONS, 0
local mark = redis.call('HGET', KEYS[1], pop .. ':' .. stream)
if mark then
  local last, of_last = string.match(mark, '^(%d+) (%d+)$')
  if tonumber(last) > sequence then return {} end
  if tonumber(last) == sequence then counted = tonumber(of_last) end
end
if counted < before then return false end
if counted >= before + users then return {} end
-- First of all, so that a server without memory refuses it before anything is counted.
redis.call('HSET', KEYS[1], pop .. ':' .. stream, string.format('%.0f %d', sequence, before + users))

-- Lua's numbers are exact up to 2^53, Redis' own up to 2^63 - 1, where a sum stays.
local function add(key, field, more)
  local sum = redis.pcall('HINCRBY', key, field, more)
  if type(sum) == 'table' then
    if not string.find(sum.err, 'overflow', 1, true) then error(sum.err) end
    redis.call('HSET', key, field, MOST)
  end
end

local names, relayed = {}, {}
for index = counted - before + 1, users do
  local at = FIXED + OF_POINT * RESOLUTIONS + OF_USER * (index - 1) + 1
  local key, name, up, down, sessions = KEYS[1 + 2 * RESOLUTIONS + index], unpack(ARGV, at, at + 3)
  for _, since in ipairs({'total', 'package'}) do
    add(key, since .. '-up', up)
    add(key, since .. '-down', down)
    add(key, since .. '-sessions', sessions)
  end
  redis.call('HSET', key, 'pop:' .. pop, table.concat({stream, ARGV[4], up, down, ARGV[at + 4]}, ' '))
  if up ~= '0' or down ~= '0' or sessions ~= '0' then
    names[#names + 1] = name
    relayed[#relayed + 1] = {up, down, sessions}
  end
end

local function sum_of_point(known, more)
  local up, down, sessions = string.match(known or '0 0 0', '^(%d+) (%d+) (%d+)$')
  return string.format('%.0f %.0f %.0f', math.min(up + more[1], MOST_OF_POINT),
    math.min(down + more[2], MOST_OF_POINT), math.min(sessions + more[3], MOST_OF_POINT))
end

local past = {}
for resolution = 1, RESOLUTIONS do
  local points, point = KEYS[2 * resolution], KEYS[2 * resolution + 1]
  local start, first, life = unpack(ARGV, FIXED + OF_POINT * (resolution - 1) + 1, FIXED + OF_POINT * resolution)
  if #names > 0 then
    local known, pairs_of_point = redis.call('HMGET', point, unpack(names)), {}
    for index, name in ipairs(names) do
      pairs_of_point[2 * index - 1] = name
      pairs_of_point[2 * index] = sum_of_point(known[index], relayed[index])
    end
    redis.call('HSET', point, unpack(pairs_of_point))
    redis.call('EXPIRE', point, life, 'NX')
    redis.call('ZADD', points, start, start)
    redis.call('EXPIRE', points, life)
  end
  past[resolution] = redis.call('ZRANGEBYSCORE', points, '-inf', '(' .. first, 'LIMIT', 0, ARGV[5])
end
return past
