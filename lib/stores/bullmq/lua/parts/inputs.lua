--[[
Counts the bytes of large inputs of jobs that are not over. Calling one of these twice for a job changes nothing.

Needs    `call`
Defines  `inputBytes`, `addInput`, `dropInput`

{queue}fae:inputs is a sorted set: the id of each such job with the bytes of its input as score. The sum stands under the
empty name, which no job can have.
]]
local function inputBytes (queue) return tonumber(call('ZSCORE', queue .. 'fae:inputs', '')) or 0 end

local function addInput (queue, id, bytes)
  local key = queue .. 'fae:inputs'
  if call('ZADD', key, bytes, id) == 1 then call('ZINCRBY', key, bytes, '') end
end

local function dropInput (queue, id)
  local key = queue .. 'fae:inputs'
  local bytes = call('ZSCORE', key, id)
  if not bytes then return end
  call('ZREM', key, id)
  if tonumber(call('ZINCRBY', key, -bytes, '')) <= 0 then call('ZREM', key, '') end
end
