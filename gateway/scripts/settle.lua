-- End an attempt: release its slot if it is still recorded, tell the gateways that wait for a slot, and append the usage
-- event. The event's tokens take the place of the reserved ones.
-- KEYS: requests of its gateway, slots, usage stream, gateways that wait for a slot of the deployment,
--       reservations of its gateway (absent for a request without a reservation)
-- ARGV: request id and attempt, replica id, deployment id, prefix of the channels of gateways,
--       UsageEvent as JSON ('' = an attempt that is not metered, whose request goes on), request id, tokens
-- Returns the requests in flight of the replica, or -1 if the slot was not held any more
local left = -1
if redis.call('HDEL', KEYS[1], ARGV[1]) == 1 then
    left = redis.call('HINCRBY', KEYS[2], ARGV[2], -1)
    if left <= 0 then
        redis.call('HDEL', KEYS[2], ARGV[2])
        left = 0
    end
    for _, gateway_id in ipairs(redis.call('SPOP', KEYS[4], 1000)) do
        redis.call('PUBLISH', ARGV[4] .. gateway_id, ARGV[3])
    end
end
if ARGV[5] ~= '' then
    redis.call('XADD', KEYS[3], '*', 'event', ARGV[5])
    if KEYS[5] then
        end_reservation(KEYS[5], ARGV[6], tonumber(ARGV[7]), false)
    end
end
return left
