--[[
Finds the jobs whose cancel was requested.

KEYS       1 prefix of the queue
ARGV       ids
Returns    those of the ids that were asked to stop
Called by  CancelWatch, at each renewal of leases and after a message (cancel-watch.ts, through consumer.ts)
]]
local answer = {}
for i = 1, #ARGV do
  if redis.call('HEXISTS', KEYS[1] .. ARGV[i], 'defa') == 1 then answer[#answer + 1] = ARGV[i] end
end
return answer
