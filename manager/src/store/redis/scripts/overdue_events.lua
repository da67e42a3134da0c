-- KEYS: outbox. ARGV: milliseconds after which an event is overdue, most events to return.
local time = redis.call('TIME')
local due = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) - ARGV[1])
return redis.call('XRANGE', KEYS[1], '-', due, 'COUNT', ARGV[2])
