--[[
Looks at fields of a job that another program may have overwritten.

Needs    `call`
Defines  `whole`, `isTable`, `readCounters`
]]
local function whole (value) return not value or string.match(value, '^%-?%d+$') ~= nil end

local function isTable (text)
  local fine, value = pcall(cjson.decode, text)
  return fine and type(value) == 'table'
end

-- Name, timestamp, options, then the numbers that BullMQ's scripts count up or compare: a text in the place of one of them
-- makes such a script stop half way. An error in the place of a table: the key holds something else than a hash.
local function readCounters (job)
  return redis.pcall('HMGET', job, 'name', 'timestamp', 'opts', 'ats', 'atm', 'stc', 'priority')
end
