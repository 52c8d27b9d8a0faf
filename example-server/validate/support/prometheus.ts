/**
 * The real promtool and a real Prometheus server. {@link findPrometheus} finds both or gets them; a test that cannot have
 * them is skipped with the reason, or fails where `REQUIRE_PROMETHEUS=1` says that it must run.
 */
import { execFile, spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { constants, rmSync } from 'node:fs'
import { access, lstat, mkdir, mkdtemp, readdir, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { freePort } from './free-port.ts'

const run = promisify(execFile)
const READY_MS = 30_000
const STOP_MS = 10_000
const INSTALL_MS = 300_000
const ANSWER_MS = 30_000
/** Where a system has its own tools, whatever the PATH of the tests says. */
const SYSTEM = ['/usr/sbin', '/usr/bin', '/sbin', '/bin']

export interface PrometheusTools {
  /** Absolute paths; empty when missing. */
  readonly promtool: string
  readonly prometheus: string
  /** For the `skip` of a test: `false`, or why there is nothing to test with. */
  readonly skip: string | false
}

let tools: Promise<PrometheusTools> | undefined

/** In the folder `PROMETHEUS_BIN`, on the PATH, or unpacked from the system's package. @throws when `REQUIRE_PROMETHEUS=1` and it cannot be had */
export function findPrometheus (): Promise<PrometheusTools> {
  tools ??= locate()
  return tools
}

async function locate (): Promise<PrometheusTools> {
  const { PROMETHEUS_BIN: chosen, REQUIRE_PROMETHEUS: required } = process.env
  const folders = chosen !== undefined && chosen !== '' ? [chosen] : (process.env['PATH'] ?? '').split(delimiter)
  const found = await both(folders)
  if (found !== undefined) return found
  const problem = chosen !== undefined && chosen !== '' ? `PROMETHEUS_BIN=${chosen} has no promtool and prometheus in it` : undefined
  const unpacked = problem === undefined ? await unpack() : problem
  if (typeof unpacked !== 'string') return unpacked
  const skip = `needs promtool and prometheus: install the package prometheus so that both are on the PATH, or name their folder in PROMETHEUS_BIN (${unpacked})`
  if (required === '1') throw new Error(`This test ${skip}`)
  return { promtool: '', prometheus: '', skip }
}

async function both (folders: readonly string[]): Promise<PrometheusTools | undefined> {
  const [promtool, prometheus] = await Promise.all(['promtool', 'prometheus'].map((name) => inFolders(name, folders)))
  return promtool === undefined || prometheus === undefined ? undefined : { promtool, prometheus, skip: false }
}

async function inFolders (name: string, folders: readonly string[]): Promise<string | undefined> {
  for (const folder of folders) {
    const file = join(folder, name)
    try {
      await access(file, constants.X_OK)
      return file
    } catch { /* not there */ }
  }
  return undefined
}

/**
 * Downloads the package and unpacks its two programs into a cache folder: nothing is installed and no service started.
 * Test files run side by side, so one does it and the others wait. @returns why not, when it cannot
 */
async function unpack (): Promise<PrometheusTools | string> {
  const [apt, dpkg] = await Promise.all(['apt-get', 'dpkg-deb'].map((name) => inFolders(name, SYSTEM)))
  if (apt === undefined || dpkg === undefined) return 'there is no apt-get here to get it with'
  const root = join(tmpdir(), `fae-prometheus-${process.getuid?.() ?? 0}`)
  const bin = join(root, 'package', 'usr', 'bin')
  const lock = join(root, 'lock')
  await mkdir(root, { recursive: true, mode: 0o700 })
  // The name can be guessed: nobody else may have put programs there for us to run.
  const { uid, mode } = await lstat(root)
  if (uid !== process.getuid?.() || (mode & 0o022) !== 0) return `${root} is not ours alone`
  const deadline = Date.now() + INSTALL_MS
  while (Date.now() < deadline) {
    const ready = await both([bin])
    if (ready !== undefined) return ready
    if (!await take(lock)) {
      await sleep(200)
      continue
    }
    try {
      await download(apt, dpkg, root)
    } catch (error) {
      return `its download failed: ${String(error instanceof Error ? error.message : error).split('\n', 1)[0]}`
    } finally {
      await rmdir(lock).catch(() => {})
    }
  }
  return 'another process is downloading it and does not get done'
}

async function take (lock: string): Promise<boolean> {
  try {
    await mkdir(lock)
    return true
  } catch { /* somebody has it */ }
  // A process that died left it behind.
  const age = await stat(lock).then(({ mtimeMs }) => Date.now() - mtimeMs, () => 0)
  if (age > INSTALL_MS) await rmdir(lock).catch(() => {})
  return false
}

async function download (apt: string, dpkg: string, root: string): Promise<void> {
  const work = await mkdtemp(join(root, 'work-'))
  try {
    const settings = { cwd: work, env: { ...process.env, PATH: SYSTEM.join(delimiter), DEBIAN_FRONTEND: 'noninteractive' }, timeout: INSTALL_MS }
    const fetch = async (): Promise<unknown> => await run(apt, ['download', 'prometheus'], settings)
    await fetch().catch(async (error: unknown) => {
      // A fresh image has no lists of packages; only root may fetch them.
      if (process.getuid?.() !== 0) throw error
      await run(apt, ['-o', 'DPkg::Lock::Timeout=120', 'update'], settings)
      await fetch()
    })
    const deb = (await readdir(work)).find((name) => name.endsWith('.deb')) ?? ''
    await run(dpkg, ['-x', deb, 'package'], settings)
    // Whole or not at all: who finds the folder may use it.
    await rename(join(work, 'package'), join(root, 'package'))
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

export interface Lint {
  /** What promtool could not read; empty when all was well formed. */
  readonly errors: string
  /** Its opinions, one per line: `metric text`. */
  readonly warnings: readonly string[]
}

/** `promtool check metrics`. */
export function checkMetrics ({ promtool }: PrometheusTools, page: string | Buffer): Lint {
  const { status, stdout, stderr, error } = spawnSync(promtool, ['check', 'metrics'], { input: page, encoding: 'utf8', maxBuffer: 1e8 })
  if (error !== undefined) throw error
  const said = `${stdout}${stderr}`
  // 3 is for opinions; 1 for what it cannot parse.
  if (status === 0 || status === 3) return { errors: '', warnings: said.split('\n').filter((line) => line !== '') }
  return { errors: said === '' ? `promtool ended with ${status}` : said, warnings: [] }
}

export interface ScrapeJob {
  /** The label `job`. */
  readonly job: string
  /** `host:port` of each process. */
  readonly targets: readonly string[]
  /** @defaultValue '/metrics' */
  readonly path?: string
}

/** What Prometheus says of a scrape that took longer than it may. */
const LATE = /context deadline exceeded/

export interface ScrapeTarget { readonly job: string, readonly health: string, readonly lastError: string, readonly lastScrape: string, readonly labels: Readonly<Record<string, string>> }

/** A Prometheus that runs somewhere. */
export class PrometheusClient {
  readonly url: string

  /** @param url without a slash at its end */
  constructor (url: string) {
    this.url = url
  }

  /** The `data` of an answer of `/api/v1`. @throws for anything but success */
  async api (path: string, parameters: Readonly<Record<string, string>> = {}): Promise<unknown> {
    const response = await fetch(`${this.url}/api/v1/${path}?${new URLSearchParams(parameters).toString()}`, { signal: AbortSignal.timeout(ANSWER_MS) })
    const body: unknown = await response.json().catch(() => { throw new Error(`${this.url}/api/v1/${path} was answered ${response.status}, and not with JSON: it is no Prometheus`) })
    if (typeof body !== 'object' || body === null || !('data' in body)) throw new Error(`${path} ${JSON.stringify(parameters)}: ${JSON.stringify(body)}`)
    return body.data
  }

  /** The instant vector of a query, by its labels. */
  async query (query: string): Promise<ReadonlyArray<{ readonly labels: Readonly<Record<string, string>>, readonly value: number }>> {
    const { result } = await this.api('query', { query }) as { result: Array<{ metric: Record<string, string>, value: [number, string] }> }
    return result.map(({ metric, value: [, value] }) => ({ labels: metric, value: Number(value.replace('Inf', 'Infinity')) }))
  }

  /** Seconds, by its own clock. */
  async now (): Promise<number> {
    const [sample] = await this.query('vector(time())')
    if (sample === undefined) throw new Error(`${this.url} does not return its time`)
    return sample.value
  }

  async targets (): Promise<ScrapeTarget[]> {
    const { activeTargets } = await this.api('targets', { state: 'active' }) as { activeTargets: Array<Omit<ScrapeTarget, 'job'>> }
    return activeTargets.map((target) => ({ ...target, job: target.labels['job'] ?? '' }))
  }

  /**
   * Resolves when so many targets were each scraped, from beginning to end, after this was called. A scrape that did not
   * get done in its time says that the machine is busy, nothing of the page: it is waited for the next one.
   *
   * @throws what Prometheus has against one of them, or after a while
   */
  async scraped (count: number): Promise<void> {
    const asked = Date.now()
    for (;;) {
      const targets = await this.targets()
      const ill = targets.find(({ lastError }) => lastError !== '' && !LATE.test(lastError))
      if (ill !== undefined) throw new Error(`the scrape of ${ill.job} failed: ${ill.lastError}`)
      if (targets.filter(({ lastError, lastScrape }) => lastError === '' && Date.parse(lastScrape) > asked).length >= count) return
      if (Date.now() > asked + READY_MS) throw new Error(`waited in vain for ${count} targets to be scraped: ${JSON.stringify(targets)}`)
      await sleep(50)
    }
  }
}

/** A Prometheus of the caller's own, in a folder of its own. */
export class PrometheusServer extends PrometheusClient {
  readonly #child: ChildProcess
  readonly #dir: string

  constructor (url: string, child: ChildProcess, dir: string) {
    super(url)
    this.#child = child
    this.#dir = dir
  }

  async stop (): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exited = once(this.#child, 'exit')
      this.#child.kill('SIGTERM')
      const timer = setTimeout(() => { this.#child.kill('SIGKILL') }, STOP_MS)
      await exited
      clearTimeout(timer)
    }
    await rm(this.#dir, { recursive: true, force: true })
  }
}

/**
 * Resolves when it is ready and knows its targets, which it looks for up to five seconds after it is ready. It keeps exemplars.
 *
 * @param intervalMs between two scrapes of a target, and what one of them may take
 * @param rules absolute paths of files with rules, evaluated as often
 */
export async function startPrometheus ({ prometheus }: PrometheusTools, jobs: readonly ScrapeJob[], intervalMs = 2_000, rules: readonly string[] = []): Promise<PrometheusServer> {
  const dir = await mkdtemp(join(tmpdir(), 'fae-prometheus-'))
  const config = join(dir, 'prometheus.yml')
  // JSON is YAML.
  await writeFile(config, JSON.stringify({
    global: { scrape_interval: `${intervalMs}ms`, scrape_timeout: `${intervalMs}ms`, evaluation_interval: `${intervalMs}ms` },
    rule_files: rules,
    scrape_configs: jobs.map(({ job, path = '/metrics', targets }) => ({ job_name: job, metrics_path: path, static_configs: [{ targets }] }))
  }))
  const listen = `127.0.0.1:${await freePort()}`
  const args = [`--config.file=${config}`, `--storage.tsdb.path=${join(dir, 'data')}`, `--web.listen-address=${listen}`, '--enable-feature=exemplar-storage', '--log.level=warn']
  const child = spawn(prometheus, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => { output = (output + data.toString()).slice(-4_000) })
  child.once('error', (error) => { output += String(error) })
  // A test file that ends badly must leave neither a server nor its folder behind.
  const killAtExit = (): void => {
    child.kill('SIGKILL')
    rmSync(dir, { recursive: true, force: true, maxRetries: 3 })
  }
  process.once('exit', killAtExit)
  child.once('exit', () => process.removeListener('exit', killAtExit))
  const server = new PrometheusServer(`http://${listen}`, child, dir)
  const count = jobs.reduce((sum, { targets }) => sum + targets.length, 0)
  const ready = async (): Promise<boolean> => (await fetch(`${server.url}/-/ready`)).ok && (await server.targets()).length >= count
  const end = Date.now() + READY_MS
  while (!await ready().catch(() => false)) {
    if (child.exitCode !== null || Date.now() > end) {
      await server.stop()
      throw new Error(`prometheus on ${listen} did not start: ${output}`)
    }
    await sleep(100)
  }
  return server
}
