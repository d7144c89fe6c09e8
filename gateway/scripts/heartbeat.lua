#!lua flags=allow-oom
-- Say that this gateway lives, and learn who does not.
-- KEYS: gateways, epoch
-- ARGV: gateway id, seconds after which a gateway is dead, the epoch of a Redis that has none
-- Returns {1 if it was not registered, ids of dead gateways…}. A gateway that could not speak for so long itself
-- accuses nobody: then Redis was away, not the others.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
redis.call('SET', KEYS[2], ARGV[3], 'NX')
local last = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], string.format('%.3f', now), ARGV[1])
if not last then
    return {1}
end
local answer = {0}
if now - last < tonumber(ARGV[2]) then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.3f', now - ARGV[2]))) do
        answer[#answer + 1] = id
    end
end
return answer
