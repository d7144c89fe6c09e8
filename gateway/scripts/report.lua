#!lua flags=allow-oom
-- Say how many requests a gateway holds for a deployment; nothing stands there while it holds none.
-- KEYS: load, deployments for which this gateway holds requests
-- ARGV: field, deployment id, how many, milliseconds for which the oldest has waited
if tonumber(ARGV[3]) == 0 then
    redis.call('HDEL', KEYS[1], ARGV[1])
    redis.call('SREM', KEYS[2], ARGV[2])
    return
end
local time = redis.call('TIME')
local oldest = time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(ARGV[4])
local text = string.format('{"count":%d,"oldest_at":%.3f}', ARGV[3], oldest / 1000)
redis.call('HSET', KEYS[1], ARGV[1], text)
redis.call('SADD', KEYS[2], ARGV[2])
