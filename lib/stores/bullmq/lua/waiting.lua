--[[
Counts the jobs that wait for a worker.

KEYS       prefixes of queues
Returns    for each queue, how many jobs wait there
Called by  Attendance, for queues that no worker works on (attendance.ts)
]]
local answer = {}
for i = 1, #KEYS do
  answer[i] = redis.call('LLEN', KEYS[i] .. 'wait') + redis.call('ZCARD', KEYS[i] .. 'prioritized') + redis.call('ZCARD', KEYS[i] .. 'delayed')
end
return answer
