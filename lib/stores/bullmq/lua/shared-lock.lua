--[[
Takes a lock that processes agree on, beside jobs, or takes it for longer. It is no lease of a job.

KEYS       1 lock
ARGV       1 holder
           2 time to live in milliseconds
Returns    1 if the holder has it, or 0
Called by  RedisSharedState.tryLock (shared.ts)
]]
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  -- The lock may have lost its time to live (a restored dump has none). Without a new one it would never be free again.
  if redis.call('PTTL', KEYS[1]) == -1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
