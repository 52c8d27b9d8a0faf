--[[
Publishes a change of a job on the channel of that job, which only those listen to who follow it.

Needs    `call`
Defines  `publish`, `count`

The messages are those of parseUpdate in updates.ts: a letter for the state, `r` for a job that was
removed, `?` for a job that must be read.
]]
local function publish (queue, id, message)
  call('PUBLISH', queue .. 'changed:' .. id, message)
end

-- Counts a change that neither begins nor ends a claim; see versionOf in record.ts. Returns the count.
local function count (job, by) return call('HINCRBY', job, 'ver', by or 1) end
