/**
 * The packed tarball with the newest and the oldest bullmq and ioredis that its peer ranges allow: installed in empty folders,
 * the conformance cases of a job store are run on a real Redis with each pair. The store reaches into BullMQ (see
 * lib/stores/bullmq/internals.ts), so a new minor may break it although no public type has changed.
 *
 *     node .ci/check-bullmq.js [tarball]    without a tarball, the package is packed first; needs redis-server on the PATH
 */
import { execFile, execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)
const root = resolve(import.meta.dirname, '..')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const { bullmq, ioredis } = manifest.peerDependencies

/** The oldest version of a range: the lower bound of its first part. */
const oldest = (range) => /\d+\.\d+\.\d+/.exec(range)[0]

const PAIRS = {
  newest: [`bullmq@${bullmq}`, `ioredis@${ioredis}`],
  oldest: [`bullmq@${oldest(bullmq)}`, `ioredis@${oldest(ioredis)}`]
}

const program = `import { randomBytes } from 'node:crypto'
import { Redis } from 'ioredis'
import { redisStore } from '${manifest.name}'
import { createContext, exerciseJobStore } from '${manifest.name}/testing'

const leaseMs = 1_000
const url = process.env.REDIS_URL
const redis = new Redis(url)
const reports = []
const host = { context: createContext(), report: (report) => { if (report.kind !== 'connected') reports.push(JSON.stringify(report)) } }
const cases = []
exerciseJobStore({
  test: (name, run) => { cases.push({ name, run }) },
  capabilities: { shared: true },
  timing: { leaseMs, shortMs: 250, deadlineMs: 15_000, stallMs: 8_000 },
  newStore: ({ retention }) => {
    const options = { url, prefix: '{' + randomBytes(6).toString('hex') + '}', leaseMs, stalledIntervalMs: 300, retention }
    return {
      store: redisStore(options),
      host,
      secondStore: () => redisStore(options),
      loseLease: async (id) => { await redis.set(options.prefix + ':conformance:' + id + ':lock', 'somebody else', 'PX', leaseMs) }
    }
  }
})
let failed = 0
// Most cases wait most of the time. Each has keys of its own.
const worker = async () => {
  for (let next = cases.shift(); next !== undefined; next = cases.shift()) {
    try {
      await next.run()
    } catch (error) {
      failed++
      console.log(next.name + ': ' + error.stack)
    }
  }
}
const count = cases.length
await Promise.all([worker(), worker(), worker(), worker()])
redis.disconnect()
const changed = reports.filter((report) => report.includes('bullmq-changed'))
for (const report of changed) console.log(report)
console.log((count - failed) + ' of ' + count + ' cases passed')
process.exitCode = failed + changed.length === 0 && count > 50 ? 0 : 1
`

async function startRedis (folder) {
  const port = await new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
  const child = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', ''], { stdio: 'ignore' })
  child.on('error', () => { /* nobody answers then */ })
  for (let left = 100; left > 0; left--) {
    try {
      execFileSync('redis-cli', ['-p', String(port), 'ping'], { stdio: 'ignore' })
      return { url: `redis://127.0.0.1:${port}`, child }
    } catch {
      await sleep(50)
    }
  }
  throw new Error('redis-server does not answer')
}

let failed = 0
function report (good, what, details = '') {
  process.stdout.write(`${good ? 'ok' : 'not ok'} - ${what}\n${good ? '' : details}`)
  if (!good) failed++
}

async function check (name, packages, tarball, url) {
  const cwd = join(folder, name)
  mkdirSync(cwd)
  writeFileSync(join(cwd, 'package.json'), JSON.stringify({ name: 'consumer', private: true }))
  writeFileSync(join(cwd, 'program.mjs'), program)
  const install = ['install', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error', tarball, `fastify@${manifest.devDependencies.fastify}`, ...packages]
  try {
    await run('npm', install, { cwd, timeout: 120_000 })
    const version = (path) => JSON.parse(readFileSync(join(cwd, 'node_modules', path, 'package.json'), 'utf8')).version
    const what = `bullmq ${version('bullmq')} with ioredis ${version('ioredis')}, the ${name} of the peer ranges`
    // BullMQ depends on an ioredis itself: the store and BullMQ must work with clients of both.
    const own = existsSync(join(cwd, 'node_modules/bullmq/node_modules/ioredis')) ? `; bullmq brings ioredis ${version('bullmq/node_modules/ioredis')}` : ''
    const { stdout } = await run(process.execPath, ['program.mjs'], { cwd, timeout: 150_000, env: { ...process.env, REDIS_URL: url } }).catch((error) => {
      report(false, what, `${error.stdout ?? ''}${error.stderr ?? ''}${error.killed ? 'it took too long\n' : ''}`)
      return { stdout: undefined }
    })
    if (stdout !== undefined) report(true, `${what}${own}: ${stdout.trim().split('\n').at(-1)}`)
  } catch (error) {
    report(false, `install ${packages.join(' ')}`, `${error.stderr ?? error.message}\n`)
  }
}

const folder = mkdtempSync(join(tmpdir(), 'fae-bullmq-'))
let redis
try {
  let tarball = process.argv[2] === undefined ? undefined : resolve(process.argv[2])
  if (tarball === undefined) {
    execFileSync('npm', ['pack', '--pack-destination', folder], { cwd: root, stdio: 'ignore', timeout: 180_000 })
    tarball = join(folder, readdirSync(folder).find((name) => name.endsWith('.tgz')))
  }
  redis = await startRedis(folder)
  await Promise.all(Object.entries(PAIRS).map(([name, packages]) => check(name, packages, tarball, redis.url)))
} catch (error) {
  report(false, error.message)
} finally {
  redis?.child.kill()
  rmSync(folder, { recursive: true, force: true })
}
process.stdout.write(failed === 0 ? 'both ends of the peer ranges are served\n' : `${failed} failed\n`)
process.exitCode = failed === 0 ? 0 : 1
