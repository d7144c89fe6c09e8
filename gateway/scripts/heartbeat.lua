#!lua flags=allow-oom
-- Register this gateway as alive and find dead gateways.
-- KEYS: gateways, epoch
-- ARGV: gateway id, seconds after which a gateway is dead, the epoch of a Redis that has none
-- Returns {1 if it was not registered, ids of dead gateways…}. If this gateway's own last heartbeat is that old, Redis
-- was unavailable, and no gateway is reported as dead.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
redis.call('SET', KEYS[2], ARGV[3], 'NX')
local last = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], string.format('%.3f', now), ARGV[1])
if not last then
    return {1}
end
local reply = {0}
if now - last < tonumber(ARGV[2]) then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.3f', now - ARGV[2]))) do
        reply[#reply + 1] = id
    end
end
return reply
