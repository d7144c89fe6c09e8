-- Put a deployment to sleep unless it has requests; while it is asleep, `admit` grants no slot.
-- KEYS: load, slots, gateways, epoch
-- ARGV: the epoch under which the idle time was measured, the required milliseconds without an arrival, seconds without
--       a heartbeat after which a gateway is dead
-- Returns 'asleep' | 'busy' (requests in flight or waiting) | 'recent' (a request arrived recently) | 'unknown' (no
-- gateway is alive, or Redis restarted since, so the absence of requests proves nothing)
if redis.call('GET', KEYS[4]) ~= ARGV[1] then
    return 'unknown'
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local alive, latest = {}, redis.call('ZRANGE', KEYS[3], 0, -1, 'WITHSCORES')
for i = 1, #latest, 2 do
    if now - latest[i + 1] * 1000 <= ARGV[3] * 1000 then
        alive[latest[i]] = true
    end
end
if next(alive) == nil then
    return 'unknown'
end
for _, count in ipairs(redis.call('HVALS', KEYS[2])) do
    if tonumber(count) > 0 then
        return 'busy'
    end
end
local load = redis.call('HGETALL', KEYS[1])
for i = 1, #load, 2 do
    local gateway = string.match(load[i], '^waiting (.+)$')
    if gateway and alive[gateway] and cjson.decode(load[i + 1]).count > 0 then
        return 'busy'
    end
end
local arrived = tonumber(redis.call('HGET', KEYS[1], 'at'))
if arrived and now - arrived < tonumber(ARGV[2]) then
    return 'recent'
end
redis.call('HSET', KEYS[1], 'asleep', '1')
redis.call('HDEL', KEYS[1], 'wake')
return 'asleep'
