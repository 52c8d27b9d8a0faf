--[[
The durable steps of a job, in fields of its hash: `s:` and a key hold a fact, `r:` and a key a result, `g:` and a name
a signal.

Needs    `call`
Defines  `fieldsOf`, `dropValues`, `writeSteps`, `endWait`, `endSteps`

The field `und` is there from the first step or signal on: '1' while the job has something to undo, '0' otherwise.
`aws` is the signal that a suspended job waits for. {queue}fae:compensating and {queue}fae:awaiting are sorted sets of
the jobs that undo their steps and of those that wait for a signal, each by since when. {queue}fae:not-undone is one of
the jobs with steps that could not be undone: it outlives the end of the job.
]]
-- Lua takes no more than some thousands of arguments at once.
local AT_ONCE = 1000

-- The names of those fields that begin with one of these prefixes of two characters.
local function fieldsOf (job, prefixes)
  local found = {}
  for _, field in ipairs(call('HKEYS', job)) do
    if prefixes[string.sub(field, 1, 2)] then found[#found + 1] = field end
  end
  return found
end

-- Deletes results and signals.
local function dropValues (job)
  local fields = fieldsOf(job, { ['r:'] = true, ['g:'] = true })
  for first = 1, #fields, AT_ONCE do
    call('HDEL', job, unpack(fields, first, math.min(first + AT_ONCE - 1, #fields)))
  end
end

-- Stores a checkpoint, as stepArgs in steps.ts writes it. ARGV holds pairs of a field and its text from `first` on.
local function writeSteps (queue, id, undo, undoing, drop, progress, first)
  local job = queue .. id
  if drop == '1' then dropValues(job) end
  local fields = {}
  if undo ~= '' then fields = { 'und', undo } elseif call('HEXISTS', job, 'und') == 0 then fields = { 'und', '0' } end
  if progress ~= '' then
    fields[#fields + 1] = 'progress'
    fields[#fields + 1] = progress
  end
  for i = first, #ARGV do
    fields[#fields + 1] = ARGV[i]
    if #fields == AT_ONCE then
      call('HSET', job, unpack(fields))
      fields = {}
    end
  end
  if fields[1] then call('HSET', job, unpack(fields)) end
  if undoing == '' then return end
  local compensating, notUndone = string.match(undoing, '^(%S*) ?(%S*)$')
  for set, since in pairs({ ['fae:compensating'] = compensating, ['fae:not-undone'] = notUndone }) do
    if since == 'none' then
      call('ZREM', queue .. set, id)
    elseif since ~= '' then
      call('ZADD', queue .. set, since, id)
    end
  end
end

-- The job waits for a signal no more.
local function endWait (queue, id)
  if call('HDEL', queue .. id, 'aws') == 1 then call('ZREM', queue .. 'fae:awaiting', id) end
end

-- The job is over.
local function endSteps (queue, id)
  endWait(queue, id)
  call('ZREM', queue .. 'fae:compensating', id)
end
