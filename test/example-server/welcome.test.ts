/** What the example server prints to be pasted is pasted into a shell here, line by line. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import t from 'tap'
import { boot, eventually, PATIENCE_MS, type Running } from './support.ts'

/** Runs the line as a shell does, again while the server says that its machine is too busy. */
async function shell (command: string): Promise<string> {
  return await eventually(`${command} to be run when the server is not overloaded`, async () => {
    const { stdout } = await promisify(execFile)('sh', ['-c', command], { timeout: PATIENCE_MS, maxBuffer: 16 << 20 })
    return stdout.includes('FAE_OVERLOADED') ? undefined : stdout
  })
}

/** The printed lines by their labels. */
function printed (server: Running): Map<string, string> {
  const lines = server.stdout().split('\n').flatMap((line) => /^ {2}(\S.*?) {2,}(curl .*)$/.exec(line)?.slice(1, 3) ?? [])
  return new Map(lines.flatMap((label, index) => index % 2 === 0 ? [[label, lines[index + 1] ?? '']] : []))
}

/** What each line must answer. */
const ANSWERS: Readonly<Record<string, RegExp>> = {
  'submit a job': /^HTTP\/1\.1 202 [\s\S]*location: \/jobs\/[\s\S]*"name":"generate-report"/,
  'wait for it': /^HTTP\/1\.1 200 [\s\S]*preference-applied: wait=10[\s\S]*"bestProduct":/,
  'its status': /^HTTP\/1\.1 200 [\s\S]*"status":"completed"/,
  'cancel a job': /^HTTP\/1\.1 20[02] [\s\S]*"name":"demo-sleep"/,
  'see a retry': /^HTTP\/1\.1 200 [\s\S]*\{"sleptMs":50,"attempt":2\}/,
  'another queue': /^HTTP\/1\.1 200 [\s\S]*"fileName":"sales-2025\.csv"/,
  'a saga': /^HTTP\/1\.1 200 [\s\S]*"path":"[^"]+\.zip","files":1,/,
  'undo a saga': /^HTTP\/1\.1 [\s\S]*"message":"notify fails as asked"/,
  'approve a text': /^HTTP\/1\.1 200 [\s\S]*"approvedBy":"ada"/,
  OpenAPI: /^\{"openapi":"3\.1\.0"/,
  metrics: /^# HELP /,
  'what limits it': /^\{"verdict":"/,
  'every check': /^\{"status":"(Healthy|Degraded)","checks":\[/,
  ready: /^\{"status":"(Healthy|Degraded)","checks":\[/,
  alive: /^\{"status":"Healthy"/
}

t.test('every line works as it is printed', async (t) => {
  const server = await boot(t, { LOG_LEVEL: 'silent' })
  const lines = printed(server)
  t.strictSame([...lines.keys()], Object.keys(ANSWERS), 'and no other')
  for (const [label, command] of lines) t.match(await shell(command), ANSWERS[label] ?? /never/, label)
})

t.test('a worker prints only what it serves', async (t) => {
  const server = await boot(t, { ROLE: 'worker', LOG_LEVEL: 'silent' })
  const lines = printed(server)
  t.strictSame([...lines.keys()], ['metrics', 'what limits it', 'every check', 'ready', 'alive'])
  for (const [label, command] of lines) t.match(await shell(command), ANSWERS[label] ?? /never/, label)
})

t.test('the commands of the README work as they are printed', async (t) => {
  const server = await boot(t, { LOG_LEVEL: 'silent' })
  const readme = readFileSync(new URL('../../../example-server/README.md', import.meta.url), 'utf8')
  const blocks = [...readme.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].map(([, block = '']) => block).filter((block) => block.includes('curl'))
  const answers = [/"path":"[^"]+\.zip","files":2/, /"status":"failed".*"phase":"compensated"/, /"paths":\["[^"]+\.webp",.*"notified":true/, /"status":"(queued|in-progress|scheduled)".*"approvedBy":"ada"/s]
  t.equal(blocks.length, answers.length)
  for (const [place, block] of blocks.entries()) t.match(await shell(block.replaceAll('http://localhost:3000', server.url)), answers[place] ?? /never/, block)
})
