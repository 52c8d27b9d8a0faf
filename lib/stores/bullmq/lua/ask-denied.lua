--[[
Asks the server which calls its user may not make. From version 7 on a script can ask, and nothing is carried out.

ARGV       calls, each as JSON: [command, argument, …]
Returns    those that are denied, each as its place (from 1) in the list; the error UNASKED where a script cannot ask
Called by  askDenied (commands.ts), by EVAL
]]
local denied = {}
for place, call in ipairs(ARGV) do
  local fine, allowed = pcall(redis.acl_check_cmd, unpack(cjson.decode(call)))
  if not fine or not allowed then denied[#denied + 1] = place end
end
if not redis.acl_check_cmd then return redis.error_reply('UNASKED') end
return denied
