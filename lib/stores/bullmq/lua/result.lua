--[[
Reads the result of a completed job. It is kept as the first entry of the job's log.

KEYS       prefixes of the queues in which the job may be
ARGV       1 id
Returns    { number of the queue, when the job ended, its result }, or nil when no such job is completed
Called by  RedisStore.result (index.ts)
]]
for i = 1, #KEYS do
  local job = KEYS[i] .. ARGV[1]
  local ended = redis.call('HMGET', job, 'finishedOn', 'returnvalue')
  if ended[1] and ended[2] then return { i, ended[1], redis.call('LINDEX', job .. ':logs', 0) } end
end
return false
