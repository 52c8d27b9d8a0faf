--[[
Reads one stretch of a list or sorted set of a queue.

A page that follows finds its place by the jobs that were read last, never by a number of jobs to pass over: jobs that left
the set in the meantime would make such a number too large, and jobs would be skipped.

KEYS       1 prefix of the queue
ARGV       1 how to walk, see below
           2 key, behind the prefix
           3 how many jobs
           4 the place: a score
           5 the place: a position from the tail
           6… the place: ids (for 'tail' each followed by its generation, see below)
Returns    { position from the tail where the stretch begins, { { id, score, fields, leased }, … } }. Jobs that are gone
           have no fields. Fewer than asked for: the end is reached.
Called by  Lister (list.ts)

How to walk:
- 'up', 'down': a sorted set, by score and id. The place is behind the pair of score and id, whether or not it is still
  there.
- 'claimed': the list of active jobs, the last claimed first, by the time of the claim and by id. All of it is read: it has
  one entry per attempt that is under way.
- 'tail': a list, from its end. The place is behind the first of the given ids that still stands there. With none left it
  is the end of the list: some jobs may come twice, none is skipped. An id that has left the list and come back stands in
  another place than before. It is recognised by its generation, the numbers of its claims and redrives.
]]
local call = redis.call
-- @include parts/record
local walk, key, count, from, over = ARGV[1], KEYS[1] .. ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local last = ARGV[6] or ''
local found, start = {}, 0
-- Compares by bytes, as the server sorts. The comparison of Lua depends on the locale.
local function below (a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then return x < y end
  end
  return #a < #b
end
local function walkSet (command, farEnd)
  local passed = 0
  repeat
    local part = call(command, key, from, farEnd, 'WITHSCORES', 'LIMIT', passed, count)
    passed = passed + #part / 2
    for i = 1, #part, 2 do
      local id, score = part[i], part[i + 1]
      local behind = last == '' or tonumber(score) ~= tonumber(from)
      if not behind and walk == 'up' then behind = below(last, id) elseif not behind then behind = below(id, last) end
      if behind and #found < 2 * count then
        found[#found + 1] = id
        found[#found + 1] = score
      end
    end
  until #found >= 2 * count or #part < 2 * count
end
local function walkClaimed ()
  local claims = {}
  local fromTime = tonumber(from) or math.huge
  for _, id in ipairs(call('LRANGE', key, 0, -1)) do
    local text = redis.pcall('HGET', KEYS[1] .. id, 'processedOn')
    local time = type(text) == 'string' and tonumber(text) or 0
    if last == '' or time < fromTime or (time == fromTime and below(id, last)) then claims[#claims + 1] = { id, time } end
  end
  table.sort(claims, function (a, b)
    if a[2] ~= b[2] then return a[2] > b[2] end
    return below(b[1], a[1])
  end)
  for i = 1, math.min(count, #claims) do
    found[#found + 1] = claims[i][1]
    found[#found + 1] = string.format('%.17g', claims[i][2])
  end
end
local function positionOf (id, generation)
  local numbers = redis.pcall('HMGET', KEYS[1] .. id, 'ats', 'rdr')
  if numbers.err or (numbers[1] or '0') .. '.' .. (numbers[2] or '0') ~= generation then return nil end
  -- On a quiet queue it stands where it stood before, and the list need not be searched.
  if call('LINDEX', key, -over) == id then return over end
  local index = call('LPOS', key, id, 'RANK', -1)
  return index and call('LLEN', key) - index
end
local function walkTail ()
  for i = 6, #ARGV, 2 do
    local position = over > 0 and positionOf(ARGV[i], ARGV[i + 1])
    if position then
      start = position
      break
    end
  end
  local ids = call('LRANGE', key, -(start + count), -(start + 1))
  for i = #ids, 1, -1 do
    found[#found + 1] = ids[i]
    found[#found + 1] = '0'
  end
end
if walk == 'tail' then walkTail()
elseif walk == 'claimed' then walkClaimed()
elseif walk == 'up' then walkSet('ZRANGEBYSCORE', '+inf')
else walkSet('ZREVRANGEBYSCORE', '-inf') end
local jobs = {}
for i = 1, #found, 2 do
  local fine, fields, leased = pcall(readRecord, KEYS[1] .. found[i])
  if not fine then fields = false end
  jobs[#jobs + 1] = { found[i], found[i + 1], fields or false, leased or 0 }
end
return { start, jobs }
