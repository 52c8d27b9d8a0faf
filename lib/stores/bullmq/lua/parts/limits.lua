--[[
The limits of the retention that BullMQ's own retention does not know: the bytes that jobs leave behind, a number of jobs
per owner, so that one client cannot push out results that another one has yet to read, and an age on the clock of the
server.

Needs    `call`, and what parts/forget defines
Defines  `keepBytes`, `keepOwner`, `forgetPast`, `micros`
]]
local function micros ()
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

local function keepBytes (queue, id, bytes, maxBytes)
  local sizes, large = queue .. 'fae:sizes', queue .. 'fae:large'
  local before = call('HGET', sizes, id) or 0
  call('HSET', sizes, id, bytes)
  call('ZADD', large, micros(), id)
  local total = call('HINCRBY', sizes, '', bytes - before)
  for _ = 1, STEPS do
    if total <= maxBytes then return end
    local oldest = call('ZRANGE', large, 0, 0)[1]
    -- The newest job stays, however large it is. When it is alone its size is the sum, so a wrong sum is corrected here.
    if oldest == id then
      call('DEL', sizes)
      call('HSET', sizes, id, bytes, '', bytes)
      return
    end
    forget(queue, oldest)
    total = tonumber(call('HGET', sizes, '')) or 0
  end
end

local function keepOwner (queue, id, owner, maxPerOwner, keepMs)
  local set = ownerKey(queue, owner)
  call('ZADD', set, micros(), id)
  call('PEXPIRE', set, keepMs)
  local over = call('ZCARD', set) - maxPerOwner
  if over > 0 then forgetAll(queue, set, call('ZRANGE', set, 0, math.min(over, STEPS) - 1)) end
end

-- Forgets what is in `set` for longer than `keepMs`. `now` is the time by the clock of the process that ended a job.
local function forgetPast (queue, set, now, keepMs)
  local past = call('ZRANGEBYSCORE', set, '-inf', now - keepMs, 'LIMIT', '0', '1')
  if not past[1] then return end
  -- The clock of that process may be ahead: the clock of the server has to agree.
  local time = math.min(now, math.floor(micros() / 1000))
  forgetAll(queue, set, call('ZRANGEBYSCORE', set, '-inf', time - keepMs, 'LIMIT', 0, STEPS))
end
