#!lua flags=allow-oom
-- Report how many requests a gateway queues for a deployment; the field does not exist while it queues none.
-- KEYS: load, deployments for which this gateway queues requests
-- ARGV: field, deployment id, number of requests, milliseconds for which the oldest has been waiting
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
