-- Settle open requests of a dead gateway as interrupted, with their estimated input tokens, and release their slots. After
-- the last one, remove its reports of queued requests and deregister it.
-- KEYS: gateways, requests of the dead gateway, usage stream, deployments for which it queued requests
-- ARGV: id of the dead gateway, seconds after which it is dead, batch size, request key prefix,
--       prefix and suffix of the slots key, prefix and suffix of the load key, its field there
-- Returns the number of open requests that are left
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local last = redis.call('ZSCORE', KEYS[1], ARGV[1])
if last and now - last < tonumber(ARGV[2]) then
    return 0
end
for _, id in ipairs(redis.call('SRANDMEMBER', KEYS[2], tonumber(ARGV[3]))) do
    local text = redis.call('GET', ARGV[4] .. id)
    if text then
        local event = cjson.decode(text)
        event.finished_at = math.floor(now * 1000) / 1000
        event.outcome, event.status, event.estimated = 'interrupted', 499, true
        event.input_tokens, event.cached_input_tokens, event.output_tokens = event.input_estimate, 0, 0
        event.input_estimate = nil
        local slots = ARGV[5] .. event.deployment_id .. ARGV[6]
        local slot = event.replica_id .. ' ' .. event.gateway_id
        redis.call('XADD', KEYS[3], '*', 'event', cjson.encode(event))
        if redis.call('HINCRBY', slots, slot, -1) <= 0 then
            redis.call('HDEL', slots, slot)
        end
        redis.call('DEL', ARGV[4] .. id)
    end
    redis.call('SREM', KEYS[2], id)
end
local left = redis.call('SCARD', KEYS[2])
if left == 0 then
    for _, deployment_id in ipairs(redis.call('SMEMBERS', KEYS[4])) do
        redis.call('HDEL', ARGV[7] .. deployment_id .. ARGV[8], ARGV[9])
    end
    redis.call('DEL', KEYS[4])
    redis.call('ZREM', KEYS[1], ARGV[1])
end
return left
