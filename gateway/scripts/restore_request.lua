-- Record an open request again after its gateway was reaped by mistake or Redis lost its data.
-- KEYS: request, slots, requests of its gateway
-- ARGV: Admitted as JSON, request id, "replica gateway"
if redis.call('SET', KEYS[1], ARGV[1], 'NX') then
    redis.call('SADD', KEYS[3], ARGV[2])
    redis.call('HINCRBY', KEYS[2], ARGV[3], 1)
end
