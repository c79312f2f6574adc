#!lua
-- Admission at a Redis: everything that one cluster slot knows of one mint, in one step.
--
-- The first line makes a server that takes no writes (out of memory, cannot save, no master) refuse the script before it begins.
--
-- Times are microseconds since 1970 by the server's clock, which all replicas share; numbers below 2^53 are exact.
-- KEYS: the hold of this session in this slot (the month that it is booked in, and each subject's arrival time then; or 'cancelled'); then the record of the idempotency key, if
-- there is one; then, for each subject, its count (hash: a = theoretical arrival time, m = month, n = mints of that month) and its leases
-- (sorted set: session by end).
-- ARGV: operation, session, microseconds that the operation is about, digest of the request ('' without an idempotency key), microseconds
-- that a first request under a key may take; then, for each subject: mints within a minute, microseconds between two of them, concurrent
-- calls, monthly mints ('' where there is no such limit).

local MINUTE = 60000000
local HOLD_KEPT = 300000 -- milliseconds; nobody gives back later than that
local KEY_KEPT = 600000 -- milliseconds
local MOST_RETRIES = 3

local operation, session, span = ARGV[1], ARGV[2], tonumber(ARGV[3])
local request, patience = ARGV[4], tonumber(ARGV[5])
local hold = KEYS[1]
local record = request ~= '' and KEYS[2] or nil

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])

local subjects = {}
do
  local key, argument = record and 3 or 2, 6
  while KEYS[key] do
    subjects[#subjects + 1] = {
      count = KEYS[key],
      leases = KEYS[key + 1],
      quota = tonumber(ARGV[argument]),
      interval = tonumber(ARGV[argument + 1]),
      calls = tonumber(ARGV[argument + 2]),
      mints = tonumber(ARGV[argument + 3]),
    }
    key, argument = key + 2, argument + 4
  end
end

-- Howard Hinnant, "chrono-compatible low-level date algorithms": civil_from_days, days_from_civil.
local function month_of(moment)
  local z = math.floor(moment / 86400000000) + 719468
  local era = math.floor(z / 146097)
  local day = z - era * 146097
  local year = math.floor((day - math.floor(day / 1460) + math.floor(day / 36524) - math.floor(day / 146096)) / 365)
  local of_year = day - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local shifted = math.floor((5 * of_year + 2) / 153)
  local month = shifted < 10 and shifted + 3 or shifted - 9
  year = year + era * 400 + (month <= 2 and 1 or 0)
  return year * 12 + month - 1
end

local function start_of(month)
  local year, number = math.floor(month / 12), month % 12 + 1
  if number <= 2 then year = year - 1 end
  local era = math.floor(year / 400)
  local of_era = year - era * 400
  local of_year = math.floor((153 * (number + (number > 2 and -3 or 9)) + 2) / 5)
  local day = of_era * 365 + math.floor(of_era / 4) - math.floor(of_era / 100) + of_year
  return (era * 146097 + day - 719468) * 86400000000
end

local this_month = month_of(now)

local function read(subject)
  local known = redis.call('HMGET', subject.count, 'a', 'm', 'n')
  subject.arrival = tonumber(known[1]) or 0
  subject.used = tonumber(known[2]) == this_month and tonumber(known[3]) or 0
end

local function write(subject)
  redis.call('HSET', subject.count, 'a', string.format('%.0f', subject.arrival), 'm', this_month, 'n', subject.used)
  local needed = subject.arrival
  if subject.mints then needed = math.max(needed, start_of(this_month + 1)) end
  redis.call('PEXPIREAT', subject.count, string.format('%.0f', math.ceil(needed / 1000) + 1000))
end

local function lease(subject, ends)
  redis.call('ZADD', subject.leases, string.format('%.0f', ends), session)
  local last = tonumber(redis.call('ZRANGE', subject.leases, -1, -1, 'WITHSCORES')[2])
  redis.call('PEXPIREAT', subject.leases, string.format('%.0f', math.ceil(last / 1000) + 1000))
end

local function held_until(subject)
  local ends = tonumber(redis.call('ZSCORE', subject.leases, session))
  return ends and ends > now and ends or nil
end

-- How long until there is a place, if there is none. More may be held than there are: a call that is under way holds its place in any case.
local function no_place(subject)
  redis.call('ZREMRANGEBYSCORE', subject.leases, '-inf', string.format('%.0f', now))
  local held = redis.call('ZCARD', subject.leases)
  if held < subject.calls then return nil end
  local over = held - subject.calls
  return tonumber(redis.call('ZRANGE', subject.leases, over, over, 'WITHSCORES')[2]) - now
end

-- Which rule refuses one more mint of the subject, and for how long.
local function refused(subject)
  if subject.mints and subject.used >= subject.mints then return 'monthly_mints', start_of(this_month + 1) - now end
  local wait = subject.calls and no_place(subject)
  if wait then return 'concurrent_calls', wait end
  if subject.quota then
    wait = math.max(subject.arrival, now) + subject.interval - now - MINUTE
    if wait > 0 then return 'mints_per_minute', wait end
  end
end

local function answer(word, ...)
  local fields = { word, string.format('%.0f', now) }
  for _, field in ipairs({ ... }) do fields[#fields + 1] = field end
  return fields
end

local function arrivals(word)
  local fields = answer(word)
  for _, subject in ipairs(subjects) do fields[#fields + 1] = string.format('%.0f', subject.arrival) end
  return fields
end

local function too_much(index, rule, wait)
  local arrival = string.format('%.0f', subjects[index].arrival)
  return answer('refused', tostring(index - 1), rule, arrival, string.format('%.0f', wait))
end

local operations = {}

-- Takes one mint and a place for `span` with every subject, or nothing at all. A session that was booked before is not booked again: the
-- answer to the first time may have been lost.
function operations.book()
  local known = redis.call('GET', hold)
  for _, subject in ipairs(subjects) do read(subject) end
  if known == 'cancelled' then return answer('cancelled') end
  if known then return arrivals('booked') end
  if record then
    local under = redis.call('HMGET', record, 'request', 'session', 'state', 'retries')
    if under[1] then
      if under[1] ~= request then return answer('conflict') end
      if under[3] == 'pending' then return answer('pending') end
      if tonumber(under[4]) >= MOST_RETRIES then return answer('conflict') end
      return answer('retry', under[2])
    end
  end
  for index, subject in ipairs(subjects) do
    local rule, wait = refused(subject)
    if rule then return too_much(index, rule, wait) end
  end
  for _, subject in ipairs(subjects) do
    if subject.quota then subject.arrival = math.max(subject.arrival, now) + subject.interval end
    if subject.mints then subject.used = subject.used + 1 end
    if subject.quota or subject.mints then write(subject) end
    if subject.calls then lease(subject, now + span) end
  end
  local booked = { this_month }
  for _, subject in ipairs(subjects) do booked[#booked + 1] = string.format('%.0f', subject.arrival) end
  redis.call('SET', hold, table.concat(booked, ' '), 'PX', HOLD_KEPT)
  if record then
    redis.call('HSET', record, 'request', request, 'session', session, 'state', 'pending', 'retries', 0)
    redis.call('PEXPIRE', record, math.ceil(patience / 1000))
  end
  return arrivals('booked')
end

-- Gives back what `book` took in this slot, once; and if it comes before it, makes sure that it takes nothing.
function operations.give_back()
  local known = redis.call('GET', hold)
  redis.call('SET', hold, 'cancelled', 'PX', HOLD_KEPT)
  if record and redis.call('HGET', record, 'session') == session then redis.call('DEL', record) end
  if not known or known == 'cancelled' then return answer('nothing') end
  local booked = {}
  for number in string.gmatch(known, '%S+') do booked[#booked + 1] = tonumber(number) end
  for index, subject in ipairs(subjects) do
    read(subject)
    -- Only what of its interval has not gone by: others have had the rest.
    local left = math.max((booked[index + 1] or 0) - now, 0)
    if subject.quota then subject.arrival = math.max(subject.arrival - math.min(subject.interval, left), 0) end
    if subject.mints and booked[1] == this_month then subject.used = math.max(subject.used - 1, 0) end
    if (subject.quota or subject.mints) and redis.call('EXISTS', subject.count) == 1 then write(subject) end
    if subject.calls then redis.call('ZREM', subject.leases, session) end
  end
  return answer('given_back')
end

-- What a retry needs: nothing is booked again, but a place for `span` with everyone who counts calls. The leases' ends before (0: none) and now.
function operations.resume()
  if record then
    local under = redis.call('HMGET', record, 'session', 'state', 'retries')
    if under[1] ~= session or under[2] ~= 'minted' or tonumber(under[3]) >= MOST_RETRIES then return answer('conflict') end
  end
  for index, subject in ipairs(subjects) do
    read(subject)
    subject.before = subject.calls and held_until(subject)
    local wait = subject.calls and not subject.before and no_place(subject)
    if wait then return too_much(index, 'concurrent_calls', wait) end
  end
  if record then redis.call('HINCRBY', record, 'retries', 1) end
  local fields = arrivals('resumed')
  for _, subject in ipairs(subjects) do
    local ends = 0
    if subject.calls then
      ends = math.max(subject.before or 0, now + span)
      lease(subject, ends)
    end
    fields[#fields + 1] = string.format('%.0f', subject.before or 0)
    fields[#fields + 1] = string.format('%.0f', ends)
  end
  return fields
end

-- Undoes `resume`, unless the lease was changed since: then others rely on it. ARGV goes on with each subject's two ends.
function operations.suspend()
  local argument = 6 + 4 * #subjects
  for _, subject in ipairs(subjects) do
    local before, ends = tonumber(ARGV[argument]), tonumber(ARGV[argument + 1])
    argument = argument + 2
    if subject.calls and tonumber(redis.call('ZSCORE', subject.leases, session)) == ends then
      if before > 0 then lease(subject, before) else redis.call('ZREM', subject.leases, session) end
    end
  end
  return answer('suspended')
end

-- The secret lives for `span`: so do the leases that there are still. Retries under the key are welcome from now on.
function operations.keep()
  for _, subject in ipairs(subjects) do
    if subject.calls and redis.call('ZSCORE', subject.leases, session) then lease(subject, now + span) end
  end
  if record and redis.call('HGET', record, 'session') == session then
    if redis.call('HGET', record, 'state') == 'pending' then redis.call('PEXPIRE', record, KEY_KEPT) end
    redis.call('HSET', record, 'state', 'minted')
  end
  return answer('kept')
end

-- A call is under way for `span` at most: its place is held whether or not one is free.
function operations.hold()
  for _, subject in ipairs(subjects) do
    if subject.calls then lease(subject, now + span) end
  end
  return answer('held')
end

function operations.release()
  for _, subject in ipairs(subjects) do
    if subject.calls then redis.call('ZREM', subject.leases, session) end
  end
  return answer('released')
end

return operations[operation]()
