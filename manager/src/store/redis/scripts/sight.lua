-- KEYS: one per node. ARGV: PoP, life in milliseconds.
for _, key in ipairs(KEYS) do
  redis.call('SADD', key, ARGV[1])
  redis.call('PEXPIRE', key, ARGV[2])
end
return 1
