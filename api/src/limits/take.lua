-- Counts a request in each bucket, if all of them have room. The rule is that of rate.rs, to the microsecond.
--
-- KEYS: the buckets. ARGV: the limit of each, in the same order.
-- A key holds "<full> <limit>": when the bucket is full again, and the limit it was last asked with. One that is absent, or
-- holds anything else, is full. Answers {now, 1 if it was counted or else 0, when each bucket is full again}.
--
-- Numbers are doubles: the largest product, a span of two minutes by an interval of one, is below 2^53.

local MINUTE, HIGHEST = 60000000, 60000000

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- The interval and the span of a limit.
local function rate(limit)
    limit = math.min(limit, HIGHEST)
    local interval = limit == 0 and MINUTE or math.ceil(MINUTE / limit)
    return interval, limit * interval
end

local function since(full, span)
    return math.min(math.max(full - now, 0), span)
end

local buckets, allowed = {}, 1
for i, key in ipairs(KEYS) do
    local limit = tonumber(ARGV[i])
    local interval, span = rate(limit)
    -- Where the key is of another type this is a table, which tells so.
    local stored = redis.pcall('GET', key)
    local full, before = 0, nil
    if type(stored) == 'string' then
        local first, second = string.match(stored, '^(%d+) (%d+)$')
        full, before = tonumber(first) or 0, tonumber(second)
    end
    local changed = before ~= nil and before ~= limit
    if changed then
        local old_interval, old_span = rate(before)
        full = now + math.min(math.floor(since(full, old_span) * interval / old_interval), span)
    end
    local owed = since(full, span)
    if owed + interval > span then
        allowed = 0
    end
    buckets[i] = { owed = owed, interval = interval, changed = changed }
end

local answer = { now, allowed }
for i, bucket in ipairs(buckets) do
    local owed = bucket.owed + allowed * bucket.interval
    if allowed == 1 or bucket.changed then
        -- After that the bucket is full, and need not be kept.
        local left = math.max(math.ceil(owed / 1000), 1)
        redis.call('SET', KEYS[i], string.format('%.0f %s', now + owed, ARGV[i]), 'PX', string.format('%.0f', left))
    end
    answer[i + 2] = now + owed
end
return answer
