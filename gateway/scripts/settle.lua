-- End a request: release its slot if the request is still recorded, and append its usage event.
-- KEYS: request, slots, requests of its gateway, usage stream
-- ARGV: request id, "replica gateway", UsageEvent as JSON ('' = an attempt that is not metered)
-- Returns 1 if the slot was still held
local held = redis.call('DEL', KEYS[1])
if held == 1 then
    redis.call('SREM', KEYS[3], ARGV[1])
    if redis.call('HINCRBY', KEYS[2], ARGV[2], -1) <= 0 then
        redis.call('HDEL', KEYS[2], ARGV[2])
    end
end
if ARGV[3] ~= '' then
    redis.call('XADD', KEYS[4], '*', 'event', ARGV[3])
end
return held
