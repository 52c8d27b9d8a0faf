--[[
Reads what became of a settlement whose answer was lost.

KEYS       1 prefix of the queue
ARGV       1 id
Returns    { { attempts begun, stalls counted, when it ended, return value, notes }, token of the lease or nil }
Called by  Settler, after BullMQ refused a step that may have been carried out before (settler.ts)
]]
local job = KEYS[1] .. ARGV[1]
return { redis.call('HMGET', job, 'ats', 'stc', 'finishedOn', 'returnvalue', 'failedReason'), redis.call('GET', job .. ':lock') }
