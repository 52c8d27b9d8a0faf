--[[
Adds jobs, each by BullMQ's own script, which stands in a loop: all submissions of one turn of the event loop travel as one
command, which takes a quarter of the CPU time of a command each. A job that cannot be added does not stop the others.

KEYS       those of BullMQ's script
ARGV       1 prefix of the queue
           2… six for each job: id, name, timestamp, data, its options as JSON (stored as they are), and what is asked
              beside that, as JSON ('' for nothing):
              `k` idempotency key, `f` fingerprint of the request, `t` time to live of the key in milliseconds,
              `o` owner, `b` bytes of a large input
Constants  readsOptions: whether BullMQ's script acts on the options (a delay, a priority)
           maxWaitingBytes, maxKeysPerOwner: of the store's options
Inserted   BullMQ's script addStandardJob, addDelayedJob or addPrioritizedJob
Returns    for each job: 1 stored; 0 the large inputs of waiting jobs, and what their steps have stored, take
           maxWaitingBytes; { id, fingerprint, fields or nil, leased } of the job that has the key; or '!' and an error
Called by  Coalescer (coalescer.ts)
]]
local call = redis.call
-- @include parts/record
-- @include parts/inputs
local A, K = ARGV, KEYS
local decode, stored = cjson.decode, nil
-- Large inputs never take more than maxWaitingBytes, but what steps have stored since can. No job is added then: it may
-- have steps as well.
local full = inputBytes(A[1]) > maxWaitingBytes
-- Without a delay and a priority. Texts, like the timestamp: a number would be printed for each job.
local NONE = { delay = '0', priority = '0' }

-- Returns nil when the job is to be added, or the answer for a job that is not.
local function held (queue, id, asked)
  local text = asked.k and call('GET', queue .. 'fae:key:' .. asked.k)
  if not text then
    if not full and (not asked.b or inputBytes(queue) + asked.b <= maxWaitingBytes) then return nil end
    -- It may be stored already, and sent again because the answer was lost.
    return call('EXISTS', queue .. id)
  end
  local gap = string.find(text, ' ', 1, true)
  local holder = string.sub(text, 1, gap - 1)
  if holder == id then return 1 end
  local fields, leased = readRecord(queue .. holder)
  return { holder, string.sub(text, gap + 1), fields or false, leased or 0 }
end

-- What is to be remembered of a job that was added.
local function remember (queue, id, asked)
  if asked.k then call('SET', queue .. 'fae:key:' .. asked.k, id .. ' ' .. asked.f, 'PX', asked.t) end
  if asked.b then addInput(queue, id, asked.b) end
  if not asked.k or not asked.o then return end
  local set = queue .. 'fae:keys:' .. redis.sha1hex(asked.o)
  local time = call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  call('ZREMRANGEBYSCORE', set, '-inf', now)
  call('ZADD', set, now + asked.t, asked.k)
  if call('PTTL', set) < asked.t then call('PEXPIRE', set, asked.t) end
  local over = call('ZCARD', set) - maxKeysPerOwner
  if over > 0 then
    for _, key in ipairs(call('ZRANGE', set, 0, math.min(over, 100) - 1)) do
      call('ZREM', set, key)
      call('DEL', queue .. 'fae:key:' .. key)
    end
  end
end

local add
do
-- BullMQ's script unpacks its arguments and encodes the options. Here both are what it needs already, which saves a
-- twentieth of its time.
local cjson = { encode = function () return stored end, decode = decode }
local cmsgpack = { unpack = function (value) return value end }
add = function (KEYS, ARGV)
-- @insert bullmq
end
end

local function addOne (i)
  local id, asked = A[i], nil
  if A[i + 5] ~= '' then
    asked = decode(A[i + 5])
    local answer = held(A[1], id, asked)
    if answer then return answer end
  elseif full then
    return call('EXISTS', A[1] .. id)
  end
  stored = A[i + 4]
  local timestamp, options = A[i + 2], NONE
  if readsOptions then timestamp, options = tonumber(timestamp), decode(A[i + 4]) end
  local answer = add(K, { { A[1], id, A[i + 1], timestamp }, A[i + 3], options })
  if answer ~= id then return answer end
  if asked then remember(A[1], id, asked) end
  return 1
end

local answers = {}
for i = 2, #A, 6 do
  local fine, answer = pcall(addOne, i)
  answers[#answers + 1] = fine and answer or '!' .. (type(answer) == 'table' and answer.err or tostring(answer))
end
return answers
