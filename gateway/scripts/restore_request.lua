-- Record an attempt again after its gateway was reaped by mistake or Redis lost its data.
-- KEYS: requests of its gateway, slots
-- ARGV: request id and attempt, record, replica id
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 1 then
    redis.call('HINCRBY', KEYS[2], ARGV[3], 1)
end
