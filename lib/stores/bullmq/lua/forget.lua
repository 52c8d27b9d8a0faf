--[[
Removes the rest of a job after BullMQ removed the job itself. Its idempotency key is free from then on.

KEYS       1 prefix of the queue
ARGV       1 id
           2 owner, or ''
           3 idempotency key, or ''
Returns    1
Called by  RedisStore.remove (index.ts)
]]
local call = redis.call
-- @include parts/keep
-- @include parts/publish
local queue, id = KEYS[1], ARGV[1]
call('ZREM', queue .. 'fae:cancelled', id)
for _, set in ipairs({ 'fae:cancelling', 'fae:compensating', 'fae:awaiting', 'fae:not-undone' }) do
  call('ZREM', queue .. set, id)
end
publish(queue, id, 'r')
dropSize(queue, id)
dropInput(queue, id)
if ARGV[2] ~= '' then call('ZREM', ownerKey(queue, ARGV[2]), id) end
if ARGV[3] == '' then return 1 end
local key = queue .. 'fae:key:' .. ARGV[3]
local text = call('GET', key)
-- The key may belong to a later job by now.
if text and string.sub(text, 1, #id + 1) == id .. ' ' then
  call('DEL', key)
  if ARGV[2] ~= '' then call('ZREM', queue .. 'fae:keys:' .. redis.sha1hex(ARGV[2]), ARGV[3]) end
end
return 1
