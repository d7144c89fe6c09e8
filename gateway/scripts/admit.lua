-- Reserve a slot on the least loaded replica and record the request, or change nothing but the load hash.
-- KEYS: replicas, slots, gateways, requests of this gateway, load
-- ARGV: Admitted as JSON, tail of the UUIDv7, tie breaker, excluded replica ids as a JSON object, request key prefix,
--       milliseconds of the first admission ('' = now)
-- Returns {state} or {'admitted', Admitted as JSON, address}; state: unregistered | asleep | nothing_ready | full |
-- unreachable (all ready replicas are excluded). A request_id that is already set is kept.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', KEYS[5], 'at', now)

local request = cjson.decode(ARGV[1])
if not redis.call('ZSCORE', KEYS[3], request.gateway_id) then
    return {'unregistered'}
end
if redis.call('HEXISTS', KEYS[5], 'asleep') == 1 then
    redis.call('HSETNX', KEYS[5], 'wake', now)
    return {'asleep'}
end

local busy = {}
local slots = redis.call('HGETALL', KEYS[2])
for i = 1, #slots, 2 do
    local replica_id = string.match(slots[i], '^(%S+) ')
    busy[replica_id] = (busy[replica_id] or 0) + tonumber(slots[i + 1])
end

local excluded, ready, reachable, best, least = cjson.decode(ARGV[4]), 0, 0, {}, nil
local replicas = redis.call('HGETALL', KEYS[1])
for i = 1, #replicas, 2 do
    local replica = cjson.decode(replicas[i + 1])
    if not replica.draining then
        ready = ready + 1
        local taken = busy[replica.replica_id] or 0
        local load = taken / replica.max_concurrency
        if not excluded[replica.replica_id] then
            reachable = reachable + 1
            if taken < replica.max_concurrency and (least == nil or load <= least) then
                if load ~= least then
                    best, least = {}, load
                end
                best[#best + 1] = replica
            end
        end
    end
end
if ready == 0 then
    redis.call('HSETNX', KEYS[5], 'wake', now)
    return {'nothing_ready'}
elseif reachable == 0 then
    return {'unreachable'}
elseif #best == 0 then
    return {'full'}
end

local chosen = best[tonumber(ARGV[3]) % #best + 1]
local milliseconds = tonumber(ARGV[6]) or tonumber(now)
if request.request_id == '' then
    local stamp = string.format('%012x', milliseconds)
    request.request_id = string.sub(stamp, 1, 8) .. '-' .. string.sub(stamp, 9) .. '-' .. ARGV[2]
end
request.admitted_at = milliseconds / 1000
request.replica_id = chosen.replica_id
local text = cjson.encode(request)
redis.call('SET', ARGV[5] .. request.request_id, text)
redis.call('SADD', KEYS[4], request.request_id)
redis.call('HINCRBY', KEYS[2], chosen.replica_id .. ' ' .. request.gateway_id, 1)
return {'admitted', text, chosen.address}
