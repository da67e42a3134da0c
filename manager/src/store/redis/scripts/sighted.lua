-- KEYS: one per node. Returns the PoPs of each.
local found = {}
for index, key in ipairs(KEYS) do found[index] = redis.call('SMEMBERS', key) end
return found
