-- Counts a request in every bucket, or in none if one of them is empty. The generic cell rate
-- algorithm (GCRA), with the arithmetic of quota.rs, to the microsecond.
--
-- KEYS: the buckets. ARGV: the limit of each, in the same order.
-- A key holds "<full> <limit>": when the bucket is full again, and the limit of its last request.
-- An absent key, and a key that holds anything else, is a full bucket. Returns {now, 1 if the
-- request was counted or else 0, when each bucket is full again}.
--
-- Numbers are doubles: the largest product, a span of two minutes by an interval of one, is below
-- 2^53.

local MINUTE, MAX_LIMIT = 60000000, 60000000

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- The interval and the span of a limit.
local function quota(limit)
    limit = math.min(limit, MAX_LIMIT)
    local interval = limit == 0 and MINUTE or math.ceil(MINUTE / limit)
    return interval, limit * interval
end

local function deficit(full, span)
    return math.min(math.max(full - now, 0), span)
end

local buckets, allowed = {}, 1
for i, key in ipairs(KEYS) do
    local limit = tonumber(ARGV[i])
    local interval, span = quota(limit)
    -- For a key of another type this is a table that holds the error.
    local stored = redis.pcall('GET', key)
    local full, before = 0, nil
    if type(stored) == 'string' then
        local first, second = string.match(stored, '^(%d+) (%d+)$')
        full, before = tonumber(first) or 0, tonumber(second)
    end
    local changed = before ~= nil and before ~= limit
    if changed then
        local old_interval, old_span = quota(before)
        full = now + math.min(math.floor(deficit(full, old_span) * interval / old_interval), span)
    end
    local missing = deficit(full, span)
    if missing + interval > span then
        allowed = 0
    end
    buckets[i] = { missing = missing, interval = interval, changed = changed }
end

local answer = { now, allowed }
for i, bucket in ipairs(buckets) do
    local missing = bucket.missing + allowed * bucket.interval
    if allowed == 1 or bucket.changed then
        -- From then on the bucket is full, and need not be kept.
        local left = math.max(math.ceil(missing / 1000), 1)
        redis.call('SET', KEYS[i], string.format('%.0f %s', now + missing, ARGV[i]), 'PX', string.format('%.0f', left))
    end
    answer[i + 2] = now + missing
end
return answer
