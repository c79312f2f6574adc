-- Put before the script under test: its clock and the end of every key are the test's. Nothing happens in between, however long that takes.
local server = redis
local moment = tonumber(server.call('GET', 'test:now'))

for _, key in ipairs(server.call('ZRANGEBYSCORE', 'test:ends', '-inf', moment / 1000)) do
  server.call('DEL', key)
  server.call('ZREM', 'test:ends', key)
end

local function ends(key, milliseconds) return server.call('ZADD', 'test:ends', milliseconds, key) end

local own = {
  TIME = function() return { string.format('%.0f', math.floor(moment / 1000000)), string.format('%.0f', moment % 1000000) } end,
  PEXPIREAT = function(key, at) return ends(key, at) end,
  PEXPIRE = function(key, span) return ends(key, moment / 1000 + span) end,
  SET = function(key, value, px, span)
    assert(px == 'PX')
    ends(key, moment / 1000 + span)
    return server.call('SET', key, value)
  end,
}

local redis = {
  call = function(name, ...)
    if own[name] then return own[name](...) end
    return server.call(name, ...)
  end,
}

