--[[
Forgets jobs of a queue whose time is over by the clock of the server, marks of cancels and of sagas whose job is gone
or over (a worker may have died between two steps), and sizes of jobs that another program removed or ran again.

KEYS       1 prefix of the queue
ARGV       1 how many of each kind are looked at; the next sweep goes on from there
           2… limits of the retention
Returns    1
Called by  Retention, on one process at a time (retention.ts)
]]
local call = redis.call
-- @include parts/keep
local queue, most = KEYS[1], tonumber(ARGV[1])
local now = math.floor(micros() / 1000)

-- Where the next sweep goes on in a set: behind the members that stay, or from the beginning.
local function rest (place, from, stay, more)
  if more then call('SET', place, from + stay, 'PX', 86400000) elseif from > 0 then call('DEL', place) end
end

local times = { ['completed'] = ARGV[3], ['failed'] = ARGV[4], ['fae:cancelled'] = ARGV[3] }
for set, keepMs in pairs(times) do
  forgetAll(queue, queue .. set, call('ZRANGEBYSCORE', queue .. set, '-inf', now - keepMs, 'LIMIT', 0, most))
end

for _, set in ipairs({ 'fae:cancelling', 'fae:compensating', 'fae:awaiting' }) do
  for _, id in ipairs(call('ZRANGE', queue .. set, 0, most - 1)) do
    local state = redis.pcall('HMGET', queue .. id, 'name', 'finishedOn')
    if state.err or not state[1] or state[2] then call('ZREM', queue .. set, id) end
  end
end

-- Another program may have removed a job, or run it again, with BullMQ alone. One that could not undo its steps is marked
-- before it fails, so it need not be among the failed ones.
local stays = {
  ['fae:cancelled'] = function (id) return call('ZSCORE', queue .. 'failed', id) end,
  ['fae:not-undone'] = function (id)
    return call('EXISTS', queue .. id) == 1 and not call('ZSCORE', queue .. 'completed', id)
  end
}
for set, stay in pairs(stays) do
  local place = queue .. 'fae:place:' .. set
  local from = tonumber(call('GET', place)) or 0
  local ids = call('ZRANGE', queue .. set, from, from + most - 1)
  local staying = 0
  for _, id in ipairs(ids) do
    if stay(id) then staying = staying + 1 else call('ZREM', queue .. set, id) end
  end
  rest(place, from, staying, #ids == most)
end

-- Sizes belong to jobs that are over, inputs to jobs that are not.
for name, over in pairs({ ['fae:large'] = 1, ['fae:inputs'] = 0 }) do
  local place = queue .. 'fae:place:' .. name
  local from = tonumber(call('GET', place)) or 0
  local ids = call('ZRANGE', queue .. name, from, from + most - 1)
  local there = 0
  for _, id in ipairs(ids) do
    local job = queue .. id
    if id == '' or call('EXISTS', job) == 1 and redis.pcall('HEXISTS', job, 'finishedOn') == over then
      there = there + 1
    elseif over == 1 then
      dropSize(queue, id)
    else
      dropInput(queue, id)
    end
  end
  rest(place, from, there, #ids == most)
end
return 1
