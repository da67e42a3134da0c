-- KEYS: points. ARGV: user. Returns what each point says of the user.
local found = {}
for index, key in ipairs(KEYS) do found[index] = redis.call('HGET', key, ARGV[1]) end
return found
