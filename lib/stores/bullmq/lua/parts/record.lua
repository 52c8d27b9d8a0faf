--[[
Reads the fields of a job that a record is made of.

Needs    `call`
Defines  `readRecord`, and the places of some fields in its answer

The order of the fields is that of RECORD_FIELDS in record.ts. A test holds the two together.
]]
local AT_OPTS, AT_PRIORITY, AT_FINISHED_ON, AT_FAILED_REASON, AT_DEFERRED = 3, 4, 7, 8, 13
local AT_STARTED, AT_REDRIVES, AT_UNDO = 14, 15, 16

-- Returns the fields and whether the job is leased (1 or 0); nil when there is no such job.
local function readRecord (job)
  local fields = call('HMGET', job, 'name', 'timestamp', 'opts', 'priority', 'delay', 'processedOn', 'finishedOn',
    'failedReason', 'returnvalue', 'progress', 'atm', 'stc', 'defa', 'ats', 'rdr', 'und', 's:', 'ver')
  if not fields[1] then return nil end
  return fields, call('EXISTS', job .. ':lock')
end

-- Whether a failed reason or a deferred failure is the mark of a cancel: CANCELLED_MARK in envelope.ts.
local function isCancelled (notes)
  return notes and string.sub(notes, 1, 6) == '{"x":1'
end
