--[[
Reads the fields of a job that its steps have written.

Needs    `call`
Defines  `stepTexts`, and what parts/steps defines
]]
-- @include parts/steps
-- Each field, followed by its text.
local function stepTexts (job, prefixes)
  local fields, found = fieldsOf(job, prefixes), {}
  for first = 1, #fields, AT_ONCE do
    local last = math.min(first + AT_ONCE - 1, #fields)
    for place, text in ipairs(call('HMGET', job, unpack(fields, first, last))) do
      found[#found + 1] = fields[first + place - 1]
      found[#found + 1] = text
    end
  end
  return found
end
