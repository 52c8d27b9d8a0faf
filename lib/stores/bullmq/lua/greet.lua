--[[
Publishes a message the way that changes of jobs are published, on a channel that only its sender listens to.

KEYS       1 the channel; there is no such key
ARGV       1 the message
Returns    1 if it was sharded, otherwise 0
Called by  listenOnCluster (listen-on-cluster.ts)
]]
local call = redis.call
-- @include parts/publish
return send(KEYS[1], ARGV[1]) and 1 or 0
