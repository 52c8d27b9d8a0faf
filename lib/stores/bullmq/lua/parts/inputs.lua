--[[
Counts the bytes of large inputs of jobs that are not over, and of what their steps have stored. `addInput` and
`dropInput` change nothing when they are called for a job a second time.

Needs    `call`
Defines  `inputBytes`, `addInput`, `growInput`, `dropInput`

{queue}fae:inputs is a sorted set: the id of each such job with its bytes as score. The sum stands under the
empty name, which no job can have.
]]
local function inputBytes (queue) return tonumber(call('ZSCORE', queue .. 'fae:inputs', '')) or 0 end

local function addInput (queue, id, bytes)
  local key = queue .. 'fae:inputs'
  if call('ZADD', key, bytes, id) == 1 then call('ZINCRBY', key, bytes, '') end
end

-- What was not counted, because it was small when the job failed, is not subtracted either.
local function growInput (queue, id, bytes)
  local key = queue .. 'fae:inputs'
  if bytes < 0 then bytes = math.max(bytes, -(tonumber(call('ZSCORE', key, id)) or 0)) end
  call('ZINCRBY', key, bytes, id)
  call('ZINCRBY', key, bytes, '')
end

local function dropInput (queue, id)
  local key = queue .. 'fae:inputs'
  local bytes = call('ZSCORE', key, id)
  if not bytes then return end
  call('ZREM', key, id)
  if tonumber(call('ZINCRBY', key, -bytes, '')) <= 0 then call('ZREM', key, '') end
end
