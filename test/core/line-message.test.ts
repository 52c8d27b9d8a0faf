import t from 'tap'
import { LOG_EVENTS, type LogEvent } from '../../lib/telemetry/log-events.ts'
import { compileMessage } from '../../lib/core/line-message.ts'

t.test('a template becomes a sentence: texts from the line, numbers from the event, durations with their unit', (t) => {
  const fields = { jobName: 'job_name', errorMessage: 'error_message', attempt: 'attempt', delayMs: 'delayMs' }
  const write = (template: string, line: object, payload: object): string => compileMessage(template, fields)({ ...line }, { ...payload })
  for (const [template, line, payload, message] of [
    ['as it is', {}, {}, 'as it is'],
    ['job {jobName}', { job_name: 'cleaned' }, { jobName: 'raw\n' }, 'job cleaned'],
    ['job {jobName}', { job_name: '[FILTERED]' }, { jobName: 'secret' }, 'job [FILTERED]'],
    ['job {jobName}', {}, { jobName: 'secret' }, 'job ?'],
    ['{attempt}[ of {maxAttempts}]', { attempt: 1 }, { attempt: 1, maxAttempts: 5 }, '1 of 5'],
    ['{attempt}[ of {maxAttempts}]', { attempt: 1 }, { attempt: 1 }, '1'],
    ['x[: {errorMessage}]', { error_message: '' }, { errorMessage: '' }, 'x'],
    ['in {delayMs}', {}, { delayMs: 0.26 }, 'in 0.3 ms'],
    ['in {delayMs}', {}, { delayMs: 1234.5 }, 'in 1235 ms'],
    ['in {delayMs}', {}, { delayMs: 61_234 }, 'in 61.2 s'],
    ['in {delayMs}', {}, { delayMs: 900_000 }, 'in 15 min'],
    ['in {delayMs}', {}, { delayMs: 9_000_000 }, 'in 2.5 h'],
    ['in {delayMs}', {}, { delayMs: 259_200_000 }, 'in 3 days'],
    ['in {delayMs}', {}, { delayMs: Number.NaN }, 'in ? ms'],
    ['x[ in {delayMs}]', {}, { delayMs: 0 }, 'x'],
    ['x[: {done} of {total}]', {}, { done: 0, total: 60 }, 'x: 0 of 60'],
    ['x[: {done} of {total}]', {}, { done: 3, total: 0 }, 'x'],
    ['x[ for {delayMs}, {done} left]', {}, { delayMs: 0, done: 1 }, 'x']
  ] as const) t.equal(write(template, line, payload), message)
  t.equal(write('{errorMessage}', { error_message: 'x'.repeat(1_000) }, { errorMessage: 'y' }).length, 500)
  t.end()
})

t.test('every line of a job names the job and its id; every line that has a duration or an attempt tells it', (t) => {
  for (const [name, { message, fields }] of Object.entries(LOG_EVENTS as Record<string, LogEvent>)) {
    if ('jobId' in fields) t.match(message, '{jobId}', name)
    if ('jobId' in fields && 'jobName' in fields) t.match(message, '{jobName}/{jobId}', name)
    if ('attempt' in fields) t.match(message, '(attempt {attempt}[ of {maxAttempts}])', name)
    for (const [, part = ''] of message.matchAll(/\{(\w+)\}/g)) t.ok(part in fields, `${name}: ${part} has a field too`)
  }
  t.end()
})
