-- A rate limit as libraries for redis keep it: the theoretical arrival time of the next request (GCRA) under the key.
-- KEYS[1] what is limited; ARGV max_burst, count, period in seconds, quantity. Answers as CL.THROTTLE does.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local limit = ARGV[1] + 1
local emission = ARGV[3] * 1000000 / ARGV[2]
local full = math.max(tonumber(redis.call('GET', KEYS[1])) or now, now)
local after = full + emission * ARGV[4]
local room = now + emission * limit - after
if room < 0 then
    return {1, limit, math.floor((now + emission * limit - full) / emission),
            math.ceil(-room / 1000000), math.ceil((full - now) / 1000000)}
end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
return {0, limit, math.floor(room / emission), -1, math.ceil((after - now) / 1000000)}
