--[[
Publishes a change of a job on the channel of that job, which only those listen to who follow it.

Needs      `call`
Constants  sharded: the client knows a cluster. Its servers from Redis 7 on hand a message only to the node that
           serves the channel; older ones, and a user who may not do that, pass it on to all nodes
Defines    `send`, `publish`, `count`

The messages are those of parseUpdate in updates.ts: a letter for the state, `r` for a job that was
removed, `?` for a job that must be read.
]]
-- The channel is in the slot of the keys. Returns whether the message was sharded.
local function send (channel, message)
  if sharded and (redis.REDIS_VERSION_NUM or 0) >= 0x70000 then
    if type(redis.pcall('SPUBLISH', channel, message)) == 'number' then return true end
  end
  call('PUBLISH', channel, message)
  return false
end

local function publish (queue, id, message) send(queue .. 'changed:' .. id, message) end

-- Counts a change that neither begins nor ends a claim; see versionOf in record.ts. Returns the count.
local function count (job, by) return call('HINCRBY', job, 'ver', by or 1) end
