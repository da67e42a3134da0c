-- KEYS: records of users, then usage of each of some of them in turn. ARGV: their names.
-- Returns of each in turn the user, and bytes up, bytes down and sessions since the package began:
-- of one moment, so that nobody is measured by a former package.
local found = {}
for index, name in ipairs(ARGV) do
  found[#found + 1] = redis.call('HGET', KEYS[1], name)
  local package = redis.call('HMGET', KEYS[index + 1], 'package-up', 'package-down', 'package-sessions')
  for _, sum in ipairs({1, 2, 3}) do found[#found + 1] = package[sum] end
end
return found
