--[[
Publishes changes that BullMQ's own scripts have stored.

KEYS       1 prefix of the queue
ARGV       1… for each job its id and a message
Returns    nil
Called by  Publisher (updates.ts)
]]
local call = redis.call
-- @include parts/publish
for i = 1, #ARGV, 2 do publish(KEYS[1], ARGV[i], ARGV[i + 1]) end
