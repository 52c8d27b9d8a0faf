import { FIELD, KEY, LOCK } from './internals.ts'
import { KEEP, OWN } from './keeping.ts'

/** Numbers that BullMQ's scripts count up or compare: a text in their place makes them stop half way. */
const COUNTED = [FIELD.attemptsStarted, FIELD.attemptsMade, FIELD.stalls, FIELD.priority] as const
/** Set by BullMQ for as long as nobody else is to look for lost leases. */
const STALLED_CHECK = 'stalled-check'

const READ = `local call = redis.call
local queue = KEYS[1]
local function whole (value) return not value or string.match(value, '^%-?%d+$') ~= nil end
local function isTable (text)
  local fine, value = pcall(cjson.decode, text)
  return fine and type(value) == 'table'
end
local function read (job)
  return redis.pcall('HMGET', job, '${FIELD.name}', '${FIELD.timestamp}', '${FIELD.opts}', ${COUNTED.map((field) => `'${field}'`).join(', ')})
end
`

/*
 * KEYS: prefix. ARGV: how many to look at, at each end of each list; how long a lease lasts. Jobs that BullMQ's scripts
 * stumble over, each with what is wrong; jobs whose lease had no end, and other keys that had none: they get one.
 * A job whose hash is gone but whose lease lasts is left to the worker that has it.
 */
const findFaults = `${READ}
local count, lockMs = tonumber(ARGV[1]), ARGV[2]
local faults, endless, keys, seen = {}, {}, {}, {}
local function look (id, locked)
  if seen[id] or string.sub(id, 1, 2) == '0:' then return end
  seen[id] = true
  local fields, fault = read(queue .. id), nil
  if fields.err then fault = 'its key holds no hash'
  elseif not fields[1] then
    if not locked then fault = 'it has no name' end
  elseif not fields[2] or not whole(fields[2]) then fault = 'its field ${FIELD.timestamp} is not a number'
  elseif fields[3] and not isTable(fields[3]) then fault = 'its field ${FIELD.opts} is not JSON'
  else
    for place = 4, ${3 + COUNTED.length} do
      if not whole(fields[place]) then fault = 'one of its counters is not a number' end
    end
  end
  if fault then
    faults[#faults + 1] = id
    faults[#faults + 1] = fault
  end
end
local function ends (command, key)
  local found = call(command, key, 0, count - 1)
  for _, id in ipairs(call(command, key, -count, -1)) do found[#found + 1] = id end
  return found
end
local leased = {}
for _, id in ipairs(ends('LRANGE', queue .. '${KEY.active}')) do
  local lock = queue .. id .. '${LOCK}'
  local left = call('PTTL', lock)
  if left == -1 and not leased[id] then
    leased[id] = true
    call('PEXPIRE', lock, lockMs)
    endless[#endless + 1] = id
  end
  look(id, left ~= -2)
end
for _, id in ipairs(ends('LRANGE', queue .. '${KEY.wait}')) do look(id, false) end
for _, key in ipairs({ '${KEY.prioritized}', '${KEY.delayed}' }) do
  for _, id in ipairs(ends('ZRANGE', queue .. key)) do look(id, false) end
end
for _, key in ipairs({ '${KEY.completed}', '${KEY.failed}' }) do
  for _, id in ipairs(call('ZRANGE', queue .. key, 0, count - 1)) do
    if read(queue .. id).err then look(id, false) end
  end
end
if call('PTTL', queue .. '${STALLED_CHECK}') == -1 then
  call('PEXPIRE', queue .. '${STALLED_CHECK}', 1000)
  keys[1] = queue .. '${STALLED_CHECK}'
end
return { faults, endless, keys }`

/*
 * KEYS: prefix. ARGV: id, why it failed, now, 'gone' to do so only if the job's key holds something else, limits. What cannot be read is dropped, the rest is kept.
 * Answer: 1, or 0 when there is nothing to end: somebody else has done it. A job whose key holds something else is ended even
 * if it stands in no list: BullMQ's script for lost leases takes it out of the list before it stumbles.
 */
const endUnreadable = `${READ}${KEEP}
local id, now = ARGV[1], ARGV[3]
local job = queue .. id
local fields = read(job)
local gone = fields.err ~= nil
local bytes = tonumber(call('ZSCORE', queue .. '${OWN.inputs}', id)) or 0
if ARGV[4] == 'gone' and not gone then return 0 end
local stood = call('LREM', queue .. '${KEY.active}', 0, id) + call('LREM', queue .. '${KEY.wait}', 0, id)
for _, key in ipairs({ '${KEY.prioritized}', '${KEY.delayed}', '${KEY.completed}' }) do stood = stood + call('ZREM', queue .. key, id) end
if gone then
  stood = stood + call('ZREM', queue .. '${KEY.failed}', id)
  call('DEL', job)
  fields = {}
end
if stood == 0 and not gone then return 0 end
dropInput(queue, id)
call('DEL', job .. '${LOCK}')
call('SREM', queue .. '${KEY.stalled}', id)
call('ZREM', queue .. '${OWN.cancelling}', id)
-- Without data: a redrive is to fail it again, and not to run it on nothing.
if not fields[1] then call('HSET', job, '${FIELD.name}', 'unreadable') end
if not fields[2] or not whole(fields[2]) then call('HSET', job, '${FIELD.timestamp}', now) end
if not fields[3] or not isTable(fields[3]) then call('HSET', job, '${FIELD.opts}', '{}') end
for place, field in ipairs({ ${COUNTED.map((field) => `'${field}'`).join(', ')} }) do
  if not whole(fields[place + 3]) then call('HDEL', job, field) end
end
call('HDEL', job, '${FIELD.deferredFailure}', '${FIELD.returnvalue}')
call('HSET', job, '${FIELD.failedReason}', ARGV[2], '${FIELD.finishedOn}', now, '${FIELD.delay}', 0)
call('ZADD', queue .. '${KEY.failed}', now, id)
keep(queue, id, '${KEY.failed}', tonumber(now), gone and 0 or bytes, ownerIn(call('HGET', job, '${FIELD.opts}')), unpack(ARGV, 5))
return 1`

/*
 * KEYS: the set of queues. ARGV: names of queues. Answer: how many it had not, and whether something else stood there.
 * What stands under this name is ours, so it is replaced.
 */
const tellQueues = `local added = redis.pcall('SADD', KEYS[1], unpack(ARGV))
if type(added) ~= 'table' then return { added, 0 } end
if not string.find(added.err, 'WRONGTYPE', 1, true) then return added end
redis.call('DEL', KEYS[1])
return { redis.call('SADD', KEYS[1], unpack(ARGV)), 1 }`

/** KEYS: prefixes of queues. Answer: for each, how many jobs wait there for a worker. */
const waiting = `local answer = {}
for i = 1, #KEYS do
  answer[i] = redis.call('LLEN', KEYS[i] .. '${KEY.wait}') + redis.call('ZCARD', KEYS[i] .. '${KEY.prioritized}') + redis.call('ZCARD', KEYS[i] .. '${KEY.delayed}')
end
return answer`

/** KEYS: any key of the prefix. The clock of the server that has these keys: the nodes of a cluster have a clock each. */
const time = "return redis.call('TIME')"

type Name = 'findFaults' | 'endUnreadable' | 'tellQueues' | 'waiting' | 'time'

/** Scripts that repair keys that other programs have overwritten, and that count the jobs of queues without a worker. */
export function repairScripts (): Readonly<Record<Name, string>> {
  return { findFaults, endUnreadable, tellQueues, waiting, time }
}
