-- One session at a Redis. All of a user's sessions share a cluster slot.
--
-- KEYS: the session (hash: d = what never changes, as JSON; x = expiry of the secret; c, ct = call and when it was reported; e, et = who
-- ended it and when; h = 1 while its call is to be hung up), and the user's index (sorted set: session by the time of its last mint).
-- ARGV: operation, the session's name in the index, seconds that a call lasts at most, seconds that a session is kept when it is over; then the operation's own.
-- Times are seconds since 1970 by the server's clock.

local operation, member, longest_call, kept = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local key, index = KEYS[1], KEYS[2]
local now = tonumber(redis.call('TIME')[1])
-- Nothing of a session can be alive so long after its last mint.
local indexed = 2 * longest_call + 2 * kept + 600

local function show()
  local fields = redis.call('HMGET', key, 'd', 'x', 'c', 'ct', 'e', 'et', 'h')
  for at = 1, 7 do fields[at] = fields[at] or '' end
  return fields
end

local function remember()
  local known = redis.call('HMGET', key, 'x', 'ct')
  local ends = math.max(tonumber(known[1]), known[2] and known[2] + longest_call or 0) + kept
  redis.call('EXPIREAT', key, ends)
  redis.call('EXPIRE', index, indexed)
end

local operations = {}

-- ARGV: what never changes, expiry. Nothing when the session has ended: it stays so. A call that was reported stays known.
function operations.bind()
  if redis.call('HEXISTS', key, 'e') == 1 then return { 'ended' } end
  redis.call('HSET', key, 'd', ARGV[5], 'x', ARGV[6])
  redis.call('ZADD', index, now, member)
  redis.call('ZREMRANGEBYSCORE', index, '-inf', now - indexed)
  remember()
  return { 'bound', unpack(show()) }
end

-- ARGV: who ends it.
function operations.finish()
  if redis.call('EXISTS', key) == 0 then return { 'unknown' } end
  if redis.call('HEXISTS', key, 'e') == 1 then return { 'before', unpack(show()) } end
  local reported = tonumber(redis.call('HGET', key, 'ct'))
  local in_call = reported and now < reported + longest_call
  redis.call('HSET', key, 'e', ARGV[5], 'et', now, 'h', in_call and 1 or 0)
  return { 'now', unpack(show()) }
end

-- ARGV: the call.
function operations.report()
  if redis.call('EXISTS', key) == 0 then return { 'unknown' } end
  local call = redis.call('HGET', key, 'c')
  if call and call ~= ARGV[5] then return { 'other' } end
  local over = redis.call('HEXISTS', key, 'e') == 1
  if not call then
    redis.call('HSET', key, 'c', ARGV[5], 'ct', now)
    if over then redis.call('HSET', key, 'h', 1) end
    remember()
  end
  return { over and 'over' or 'reported', unpack(show()) }
end

function operations.hung_up()
  if redis.call('HEXISTS', key, 'e') == 1 then redis.call('HSET', key, 'h', 0) end
  return { 'noted' }
end

function operations.forget()
  redis.call('DEL', key)
  redis.call('ZREM', index, member)
  return { 'forgotten' }
end

return operations[operation]()
