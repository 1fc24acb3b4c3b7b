-- Well-formed keys with a right check sum that do not exist: a fixed number of key ids, and another secret each time.
local digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
local bit = require("bit")
local crc_table = {}
for byte = 0, 255 do
  local crc = byte
  for _ = 1, 8 do
    if bit.band(crc, 1) == 1 then crc = bit.bxor(bit.rshift(crc, 1), 0xedb88320) else crc = bit.rshift(crc, 1) end
  end
  crc_table[byte] = crc
end
local function check_sum(text)
  local crc = 0xffffffff
  for place = 1, #text do
    crc = bit.bxor(bit.rshift(crc, 8), crc_table[bit.band(bit.bxor(crc, text:byte(place)), 255)])
  end
  crc = bit.bnot(crc) % 4294967296
  local sum = ""
  for _ = 1, 6 do
    local digit = crc % 62 + 1
    sum = digits:sub(digit, digit) .. sum
    crc = math.floor(crc / 62)
  end
  return sum
end
local count = 0
wrk.method = "POST"
wrk.body = '{"model":"smollm2:135m","stream":false,"messages":[{"role":"user","content":"Say hello."}]}'
request = function()
  count = count + 1
  local key = string.format("pdk_%010d_%043d", count % IDS, count)
  return wrk.format(nil, nil, {["Authorization"] = "Bearer " .. key .. check_sum(key), ["Content-Type"] = "application/json"})
end
