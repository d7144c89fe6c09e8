-- End a request: free its slot if it was still noted, and append its event.
-- KEYS: request, slots, requests of its gateway, usage stream
-- ARGV: request id, "replica gateway", UsageEvent as JSON ('' = an attempt that failed and is not counted)
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
