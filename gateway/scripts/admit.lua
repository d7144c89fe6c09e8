-- Reserve a slot for an attempt of a request and record it, or change nothing but the load hash and the waiting gateways.
-- The first call of a request under limits also reserves in their counters; if one has no room, nothing changes at all.
-- KEYS: replicas, slots, gateways, requests of this gateway, load, gateways that wait for a slot,
--       reservations of this gateway, counters of limits, those of requests before those of tokens
-- ARGV: gateway id, attempt, milliseconds of the request's first call ('' = now), tail of its UUIDv7,
--       ids of the candidates, best first, ids of the replicas to avoid, the rest of the record,
--       tokens to reserve, number of counters of requests, limits of the counters
-- Without counters among the keys nothing is reserved.
-- Returns {state, milliseconds, counters}, or
-- {state, milliseconds, counters, replica id, its requests in flight, address, seen…}
-- counters: what `reserve` returns first, '' without counters.
-- state: limited (with the index of the counter and the milliseconds until it has room) | admitted (to a candidate; seen: the candidates that were passed over) | scanned (admitted to the least loaded of
-- all) | full (the replica id is empty) | unregistered | asleep | nothing_ready | unreachable (all ready replicas are to
-- be avoided). scanned and full see all replicas that take requests. seen are triples: replica id, requests in flight (-1:
-- it takes no requests), maximum.
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local milliseconds = ARGV[3] ~= '' and ARGV[3] or now
local stamp = string.format('%012x', milliseconds)
local request = string.sub(stamp, 1, 8) .. '-' .. string.sub(stamp, 9) .. '-' .. ARGV[4]

if not redis.call('ZSCORE', KEYS[3], ARGV[1]) then
    return {'unregistered', milliseconds, ''}
end
local counters = ''
if #KEYS > 7 then
    local refused_by, wait
    counters, refused_by, wait = reserve(
        KEYS[7], request, tonumber(now), tonumber(ARGV[8]), tonumber(ARGV[9]), KEYS, 8, ARGV, 10
    )
    if refused_by then
        return {'limited', milliseconds, counters, refused_by, wait}
    end
end
redis.call('HSET', KEYS[5], 'at', now)
if redis.call('HEXISTS', KEYS[5], 'asleep') == 1 then
    redis.call('HSETNX', KEYS[5], 'wake', now)
    return {'asleep', milliseconds, counters}
end

local reply = {'admitted', milliseconds, counters, '', 0, ''}
local chosen, taken, address
for id in string.gmatch(ARGV[5], '%S+') do
    local record = redis.call('HGET', KEYS[1], id)
    local maximum, draining
    if record then
        maximum, draining, address = string.match(record, '^(%d+) (%d) (.+)$')
    end
    taken = tonumber(redis.call('HGET', KEYS[2], id) or 0)
    if record and draining == '0' then
        if taken < tonumber(maximum) then
            chosen = id
            break
        end
        reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = id, taken, tonumber(maximum)
    else
        reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = id, -1, 0
    end
end

if not chosen then
    reply = {'scanned', milliseconds, counters, '', 0, ''}
    local busy = {}
    local slots = redis.call('HGETALL', KEYS[2])
    for i = 1, #slots, 2 do
        busy[slots[i]] = tonumber(slots[i + 1])
    end
    local ready, reachable, ties, least = 0, 0, 0, nil
    local turn = tonumber(string.sub(ARGV[4], -6), 16)
    local replicas = redis.call('HGETALL', KEYS[1])
    for i = 1, #replicas, 2 do
        local id = replicas[i]
        local maximum, draining, where = string.match(replicas[i + 1], '^(%d+) (%d) (.+)$')
        if draining == '0' then
            maximum = tonumber(maximum)
            local in_flight = busy[id] or 0
            ready = ready + 1
            reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = id, in_flight, maximum
            if not string.find(ARGV[6], id, 1, true) then
                reachable = reachable + 1
                local load = in_flight / maximum
                if in_flight < maximum and (least == nil or load <= least) then
                    ties = load == least and ties + 1 or 1
                    -- The n-th of equally loaded replicas replaces the chosen one with a probability of 1/n.
                    if ties == 1 or turn % ties == 0 then
                        chosen, taken, address = id, in_flight, where
                    end
                    least, turn = load, (turn * 75 + 74) % 65537
                end
            end
        end
    end
    if ready == 0 then
        redis.call('HSETNX', KEYS[5], 'wake', now)
        return {'nothing_ready', milliseconds, counters}
    elseif reachable == 0 then
        return {'unreachable', milliseconds, counters}
    elseif not chosen then
        redis.call('SADD', KEYS[6], ARGV[1])
        reply[1] = 'full'
        return reply
    end
end

redis.call('HSET', KEYS[4], request .. '/' .. ARGV[2], milliseconds .. ' ' .. chosen .. ' ' .. ARGV[7])
redis.call('HINCRBY', KEYS[2], chosen, 1)
reply[4], reply[5], reply[6] = chosen, taken + 1, address
return reply
