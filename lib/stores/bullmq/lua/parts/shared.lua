--[[
Forgets entries of a group whose time is over.

Needs    `call`; KEYS: the texts of the group, their ends
Defines  `now` (milliseconds), `expire`

The texts are in a hash, the times when they end in a sorted set beside it: fields of a hash have no expiry of their own
before version 7.4. The time is that of the server, because the clocks of its clients differ.
]]
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function expire ()
  for _, key in ipairs(call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 1000)) do
    call('HDEL', KEYS[1], key)
    call('ZREM', KEYS[2], key)
  end
end
