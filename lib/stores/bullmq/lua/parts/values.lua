--[[
Counts what the steps of a job have stored, and its signals, together with its input: while they take too much,
submissions are refused (add.lua). Steps themselves are not: a saga must get on to give anything back.

Needs    `call`, ARGV
Defines  `writeCounted`, and what parts/steps and parts/inputs define
]]
-- @include parts/steps
-- @include parts/inputs
local function bytesOf (job, fields)
  local bytes = 0
  for first = 1, #fields, AT_ONCE do
    for _, text in ipairs(call('HMGET', job, unpack(fields, first, math.min(first + AT_ONCE - 1, #fields)))) do
      bytes = bytes + #text
    end
  end
  return bytes
end

-- Does what `writeSteps` does. The same checkpoint counts once, however often it is sent.
local function writeCounted (queue, id, undo, undoing, drop, progress, first)
  local job, more = queue .. id, 0
  if drop == '1' then more = -bytesOf(job, fieldsOf(job, { ['r:'] = true, ['g:'] = true })) end
  -- The results stand at the end.
  for i = #ARGV - 1, first, -2 do
    if string.sub(ARGV[i], 1, 2) ~= 'r:' then break end
    more = more + #ARGV[i + 1]
    local before = drop ~= '1' and call('HGET', job, ARGV[i])
    if before then more = more - #before end
  end
  writeSteps(queue, id, undo, undoing, drop, progress, first)
  if more ~= 0 then growInput(queue, id, more) end
end
