-- Returns the request that was counted last to every bucket. With the arithmetic of quota.rs.
--
-- KEYS: the buckets. ARGV: the limit of each, in the same order. gcra.lua describes the values.

local MINUTE, MAX_LIMIT = 60000000, 60000000

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

for i, key in ipairs(KEYS) do
    local limit = math.min(tonumber(ARGV[i]), MAX_LIMIT)
    -- For a key of another type this is a table that holds the error.
    local stored = redis.pcall('GET', key)
    local full, before = nil, nil
    if type(stored) == 'string' then
        full, before = string.match(stored, '^(%d+) (%d+)$')
    end
    -- A bucket without a value is full. A bucket with another limit was counted again since.
    if limit > 0 and full and tonumber(before) == tonumber(ARGV[i]) then
        local missing = math.max(tonumber(full) - math.ceil(MINUTE / limit) - now, 0)
        local left = string.format('%.0f', math.max(math.ceil(missing / 1000), 1))
        redis.call('SET', key, string.format('%.0f %s', now + missing, before), 'PX', left)
    end
end
return 1
