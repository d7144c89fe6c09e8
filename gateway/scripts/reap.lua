-- Settle open requests of a dead gateway as interrupted, with the tokens that it reported last or their estimated input
-- tokens, and release their slots. After the last one, give back the reservations of requests without a slot, remove its
-- reports and deregister it.
-- KEYS: gateways, requests of the dead gateway, usage stream, deployments for which it queued requests, tokens of its
--       open requests, its reservations
-- ARGV: id of the dead gateway, seconds after which it is dead, batch size, prefix and suffix of the slots key,
--       prefix and suffix of the load key, its field there, prefix and suffix of the key of waiting gateways,
--       prefix of the channels of gateways
-- Returns the number of open requests and reservations that are left
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local last = redis.call('ZSCORE', KEYS[1], ARGV[1])
if last and now - last < tonumber(ARGV[2]) then
    return 0
end
local names = redis.call('HRANDFIELD', KEYS[2], tonumber(ARGV[3]))
for _, name in ipairs(names) do
    local milliseconds, replica_id, text = string.match(redis.call('HGET', KEYS[2], name), '^(%d+) (%S+) (.+)$')
    local event = cjson.decode(text)
    event.request_id, event.replica_id = string.match(name, '^[^/]+'), replica_id
    event.admitted_at, event.finished_at = milliseconds / 1000, math.floor(now * 1000) / 1000
    event.outcome, event.status, event.provisional = 'interrupted', 499, true
    local input, cached, output, estimated =
        string.match(redis.call('HGET', KEYS[5], name) or '', '^(%d+) (%d+) (%d+) (%d)$')
    event.input_tokens, event.cached_input_tokens = tonumber(input or event.input_estimate), tonumber(cached or 0)
    event.output_tokens, event.estimated = tonumber(output or 0), estimated ~= '0'
    end_reservation(KEYS[6], event.request_id, event.input_tokens + event.output_tokens, false)
    event.input_estimate, event.is_limited = nil, nil
    redis.call('XADD', KEYS[3], '*', 'event', cjson.encode(event))
    local slots = ARGV[4] .. event.deployment_id .. ARGV[5]
    if redis.call('HINCRBY', slots, replica_id, -1) <= 0 then
        redis.call('HDEL', slots, replica_id)
    end
    for _, gateway_id in ipairs(redis.call('SPOP', ARGV[9] .. event.deployment_id .. ARGV[10], 1000)) do
        redis.call('PUBLISH', ARGV[11] .. gateway_id, event.deployment_id)
    end
    redis.call('HDEL', KEYS[2], name)
end
local left = redis.call('HLEN', KEYS[2])
if left == 0 then
    for _, request_id in ipairs(redis.call('HRANDFIELD', KEYS[6], tonumber(ARGV[3]))) do
        end_reservation(KEYS[6], request_id, 0, true)
    end
    left = redis.call('HLEN', KEYS[6])
end
if left == 0 then
    for _, deployment_id in ipairs(redis.call('SMEMBERS', KEYS[4])) do
        redis.call('HDEL', ARGV[6] .. deployment_id .. ARGV[7], ARGV[8])
    end
    redis.call('DEL', KEYS[4], KEYS[5])
    redis.call('ZREM', KEYS[1], ARGV[1])
end
return left
