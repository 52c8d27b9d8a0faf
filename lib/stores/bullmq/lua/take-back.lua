--[[
Takes back leases that have run out, where the job is still active and no other attempt has begun.

KEYS       1 prefix of the queue
ARGV       1 duration of a lease in milliseconds
           2… three for each job: id, token of the claim, how many attempts have begun
Returns    the ids whose leases are good
Called by  Leases.takeBack (leases.ts)
]]
local call = redis.call
local queue, answer = KEYS[1], {}
for i = 2, #ARGV, 3 do
  local id, token = ARGV[i], ARGV[i + 1]
  local job = queue .. id
  local holder = call('GET', job .. ':lock')
  if holder == token or (not holder and call('HGET', job, 'ats') == ARGV[i + 2] and call('LPOS', queue .. 'active', id)) then
    call('SET', job .. ':lock', token, 'PX', ARGV[1])
    call('SREM', queue .. 'stalled', id)
    answer[#answer + 1] = id
  end
end
return answer
