/** The Lua of what processes agree on beside jobs: locks, and short texts in groups. */

// KEYS: lock. ARGV: holder, time to live in ms. Answer: whether the holder has it.
const lock = `local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  -- The lock has lost its time to live (a restored dump has none). Without a new one it would never be free again.
  if redis.call('PTTL', KEYS[1]) == -1 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`

// KEYS: lock. ARGV: holder.
const unlock = `if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`

/*
 * Texts of a group are in a hash, the times when they end in a sorted set beside it: fields of a hash have no expiry of
 * their own before version 7.4. The time is the server's: the clocks of its clients differ.
 */
const SHARED = `local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function forget ()
  for _, key in ipairs(call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 1000)) do
    call('HDEL', KEYS[1], key)
    call('ZREM', KEYS[2], key)
  end
end
`

// KEYS: texts, their ends. ARGV: key, text, time to live in ms.
const share = `${SHARED}forget()
call('HSET', KEYS[1], ARGV[1], ARGV[2])
call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
local last = call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
for i = 1, 2 do call('PEXPIRE', KEYS[i], last - now) end
return 1`

// KEYS: texts, their ends. Answer: key, text, key, text …
const gather = `${SHARED}forget()
return call('HGETALL', KEYS[1])`

export const SHARED_SCRIPTS = { lock, unlock, share, gather } as const
