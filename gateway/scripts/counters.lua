-- Counters of limits, shared by the scripts that admit, settle and reap. A counter holds what was admitted in the last
-- 60 s, in buckets of 0.25 s with a running sum. A bucket counts until all that is in it is at least 60 s old, so no
-- sliding minute exceeds a limit.
-- A counter is a string of little-endian doubles: the sum, the number of the newest bucket, and a ring of buckets. The
-- number of a bucket is its first millisecond / 250. Buckets after the newest one still have the amounts of a ring
-- before, which the sum includes; they are cleared when the newest one advances.
local BUCKET_MS, RING, TTL_MS, HEAD = 250, 241, 61000, 16

local function get_offset(bucket)
    return HEAD + bucket % RING * 8
end

local function sum_range(key, first, last)
    local total, from = 0, first % RING
    local beyond = from + last - first - RING + 1
    local text = redis.call('GETRANGE', key, get_offset(first), get_offset(first) + (last - first + 1) * 8 - 1)
    for position = 1, #text, 8 do
        total = total + struct.unpack('<d', text, position)
    end
    if beyond > 0 then
        text = redis.call('GETRANGE', key, HEAD, HEAD + beyond * 8 - 1)
        for position = 1, #text, 8 do
            total = total + struct.unpack('<d', text, position)
        end
    end
    return total
end

local function clear_range(key, first, last)
    local count = last - first + 1
    local here = math.min(count, RING - first % RING)
    redis.call('SETRANGE', key, get_offset(first), string.rep('\0', here * 8))
    if count > here then
        redis.call('SETRANGE', key, HEAD, string.rep('\0', (count - here) * 8))
    end
end

-- Return what counts in `bucket`, and the number of the newest bucket (nil: the counter is empty).
local function read_counter(key, bucket)
    local head = redis.call('GETRANGE', key, 0, HEAD - 1)
    if head == '' then
        return 0, nil
    end
    local sum, newest = struct.unpack('<dd', head)
    if bucket - newest >= RING then
        return 0, nil
    elseif bucket > newest then
        sum = sum - sum_range(key, newest + 1, bucket)
    end
    return sum, newest
end

-- Add `amount` in `bucket`; `sum` and `newest` are what `read_counter` has returned.
local function add_to_counter(key, bucket, sum, newest, amount)
    local head = struct.pack('<dd', sum + amount, bucket)
    if newest == nil then
        redis.call('SET', key, head, 'PX', TTL_MS)
    else
        redis.call('SETRANGE', key, 0, head)
        if bucket == newest then
            amount = amount + sum_range(key, bucket, bucket)
        else
            redis.call('PEXPIRE', key, TTL_MS)
            if bucket > newest + 1 then
                clear_range(key, newest + 1, bucket - 1)
            end
        end
    end
    redis.call('SETRANGE', key, get_offset(bucket), struct.pack('<d', amount))
end

-- Add `change` to a bucket of the past, unless it does not count any more.
local function correct_counter(key, bucket, change)
    local head = redis.call('GETRANGE', key, 0, HEAD - 1)
    if head == '' then
        return
    end
    local sum, newest = struct.unpack('<dd', head)
    if bucket <= newest and newest - bucket < RING then
        redis.call('SETRANGE', key, 0, struct.pack('<d', sum + change))
        local amount = sum_range(key, bucket, bucket) + change
        redis.call('SETRANGE', key, get_offset(bucket), struct.pack('<d', amount))
    end
end

-- Return the milliseconds after which the counter is lower by `excess`, if nothing is added.
local function get_wait(key, bucket, newest, excess, now)
    local ring = redis.call('GETRANGE', key, HEAD, -1)
    for ended = bucket - RING + 1, newest do
        local position = ended % RING * 8 + 1
        if position < #ring then
            excess = excess - struct.unpack('<d', ring, position)
        end
        if excess <= 0 then
            return (ended + RING) * BUCKET_MS - now
        end
    end
    return (newest + RING) * BUCKET_MS - now
end

-- Reserve 1 in each counter of requests and `tokens` in each counter of tokens, or nothing if any has no room.
-- `counters` are keys from the index `first` on, those of requests before those of tokens; `limits` are their limits
-- from `first_limit` on. Returns the used amount and the milliseconds until it is 0 of each counter, as a text; if
-- nothing was reserved, then the index of the counter that has room last (from 1), and the milliseconds until then.
local function reserve(reservations, request_id, now, tokens, requests, counters, first, limits, first_limit)
    local bucket = math.floor(now / BUCKET_MS)
    local sums, newest, amounts, refused_by, wait = {}, {}, {}, nil, 0
    local count = #counters - first + 1
    for i = 1, count do
        sums[i], newest[i] = read_counter(counters[first + i - 1], bucket)
        if newest[i] and newest[i] > bucket then
            bucket = newest[i] -- the clock went back
        end
    end
    for i = 1, count do
        amounts[i] = i <= requests and 1 or tokens
        local excess = sums[i] + amounts[i] - tonumber(limits[first_limit + i - 1])
        if excess > 0 and newest[i] then
            local until_room = get_wait(counters[first + i - 1], bucket, newest[i], excess, now)
            if refused_by == nil or until_room > wait then
                refused_by, wait = i, until_room
            end
        end
    end
    local seen = {}
    for i = 1, count do
        if not refused_by then
            add_to_counter(counters[first + i - 1], bucket, sums[i], newest[i], amounts[i])
            sums[i], newest[i] = sums[i] + amounts[i], bucket
        end
        seen[#seen + 1] = string.format('%.0f', sums[i])
        seen[#seen + 1] = string.format('%.0f', newest[i] and (newest[i] + RING) * BUCKET_MS - now or 0)
    end
    if not refused_by then
        local names = table.concat(counters, ' ', first)
        local record = string.format('%.0f %.0f %d %s', bucket, tokens, requests, names)
        redis.call('HSET', reservations, request_id, record)
    end
    return table.concat(seen, ' '), refused_by, wait
end

-- End a reservation, if it is still recorded: `tokens` take the place of the reserved ones, and `gives_back` removes
-- the request from the counters of requests.
local function end_reservation(reservations, request_id, tokens, gives_back)
    local record = redis.call('HGET', reservations, request_id)
    if not record then
        return
    end
    redis.call('HDEL', reservations, request_id)
    local bucket, reserved, requests, names = string.match(record, '^(%d+) (%d+) (%d+) (.+)$')
    local i = 0
    for name in string.gmatch(names, '%S+') do
        i = i + 1
        local change = tokens - reserved
        if i <= tonumber(requests) then
            change = gives_back and -1 or 0
        end
        if change ~= 0 then
            correct_counter(name, tonumber(bucket), change)
        end
    end
end
