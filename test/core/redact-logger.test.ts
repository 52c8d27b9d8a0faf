import Fastify, { type FastifyBaseLogger, type FastifyServerOptions } from 'fastify'
import t from 'tap'
import { silentLogger, type Logger } from '../../lib/core/context.ts'
import { readRedactOptions } from '../../lib/core/redact.ts'

type Line = Record<string, unknown>
type PinoOptions = Exclude<FastifyServerOptions['logger'], boolean | undefined>

const redaction = readRedactOptions()

/** Fastify's own pino under the layer, and what it has written. */
function covered (options: PinoOptions = {}): { base: FastifyBaseLogger, logger: FastifyBaseLogger, lines: Line[] } {
  const lines: Line[] = []
  const stream = { write: (line: string) => { lines.push(JSON.parse(line) as Line) } }
  const { log } = Fastify({ logger: { level: 'trace', ...options, stream } as PinoOptions })
  return { base: log, logger: redaction.logger(log) as FastifyBaseLogger, lines }
}

t.test('every level hides, and so do children and their children', async (t) => {
  const { logger, lines } = covered()
  for (const level of ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const) logger[level]({ password: 'x', n: 1 }, 'message %s', 'y')
  t.same(lines.map(({ password, n, msg }) => [password, n, msg]), Array.from({ length: 6 }, () => ['[FILTERED]', 1, 'message y']))
  lines.length = 0
  const child = logger.child({ job: 1, token: 'x' })
  child.info({ secret: 'x' })
  child.child({ apiKey: 'x' }, { level: 'debug' }).debug({ pwd: 'x' }, 'with a level of its own')
  child.child({}, { serializers: { user: () => 'serialized' } }).info({ user: { password: 'x' } })
  t.same(lines.map(({ level, time, pid, hostname, ...line }) => line), [
    { job: 1, token: '[FILTERED]', secret: '[FILTERED]' },
    { job: 1, token: '[FILTERED]', apiKey: '[FILTERED]', pwd: '[FILTERED]', msg: 'with a level of its own' },
    { job: 1, token: '[FILTERED]', user: 'serialized' }
  ])
})

t.test('the layer is made once, and not over itself', async (t) => {
  const { base, logger } = covered()
  t.equal(redaction.logger(base), logger)
  t.equal(redaction.logger(logger), logger)
  t.not(logger, base)
})

t.test('what is logged as an argument of a message, or as an error, is hidden too', async (t) => {
  const { logger, lines } = covered()
  logger.info('signed in: %j', { user: 'x', password: 'secret-1' })
  logger.error(Object.assign(new Error('redis://u:secret-2@h refused'), { config: { authorization: 'secret-3' } }))
  logger.error({ err: new Error('a', { cause: new Error('token=secret-4') }) }, 'caused')
  t.notMatch(JSON.stringify(lines), /secret-\d/)
  t.match(lines, [
    { msg: 'signed in: {"user":"x","password":"[FILTERED]"}' },
    { msg: 'redis://[FILTERED]@h refused', err: { type: 'Error', stack: /redis:\/\/\[FILTERED\]@h/, config: { authorization: '[FILTERED]' } } },
    { msg: 'caused', err: { message: 'a: token=[FILTERED]' } }
  ])
})

t.test('texts lose their credentials in fields and arguments; the message is its author\'s', async (t) => {
  const { logger, lines } = covered()
  logger.info({ endpoint: 'https://u:secret-1@h' }, 'connected to %s with password=%s', 'redis://u:secret-2@h', 'secret-3')
  logger.info('sent %s', 'Bearer secret-4')
  logger.info(undefined, 'login: token=%s', 'a')
  logger.child({ args: ['--password=secret-5'], job_name: 'password:reset' }).info('x')
  t.match(lines, [
    { endpoint: 'https://[FILTERED]@h', msg: 'connected to redis://[FILTERED]@h with password=secret-3' },
    { msg: 'sent Bearer [FILTERED]' },
    { msg: 'login: token=a' },
    { args: ['--password=[FILTERED]'], job_name: 'password:reset', msg: 'x' }
  ])
})

t.test('the logger\'s own redact, serializers, formatters, mixin, hooks and keys go on working', async (t) => {
  const { logger, lines } = covered({
    messageKey: 'message',
    redact: { paths: ['patient', 'nested.diagnosis'], censor: 'gone' },
    serializers: { order: (order: { id: number }) => `order ${order.id}` },
    formatters: { level: (label) => ({ severity: label.toUpperCase() }), log: (line) => ({ ...line, formatted: true }) },
    mixin: () => ({ region: 'eu' }),
    hooks: { logMethod (values, method) { values.push('hooked'); return method.apply(this, values as Parameters<typeof method>) } }
  } as PinoOptions)
  logger.child({ job: 1 }).info({ password: 'x', patient: 'p', nested: { diagnosis: 'd', n: 1 }, order: { id: 5 } }, 'told: %s')
  const { time, pid, hostname, ...line } = lines[0] ?? {}
  t.same(line, {
    severity: 'INFO', job: 1, region: 'eu', formatted: true, password: '[FILTERED]', patient: 'gone', nested: { diagnosis: 'gone', n: 1 }, order: 'order 5', message: 'told: hooked'
  })
})

t.test('levels: a line that is not written is not looked at, and a change counts at once', async (t) => {
  const { base, logger, lines } = covered({ level: 'info' })
  let touched = 0
  const watched = { get password (): string { touched++; return 'x' } }
  const child = logger.child({})
  child.debug(watched)
  t.equal(touched, 0)
  base.level = 'debug'
  child.debug(watched)
  t.same(lines.map(({ password }) => password), ['[FILTERED]'])
  child.level = 'trace'
  t.equal(child.level, 'trace')
  t.equal(base.level, 'debug')
  child.trace({ password: 'x' })
  child.child({}).trace({ password: 'x' })
  logger.trace({ password: 'x' })
  t.same(lines.map(({ password }) => password), ['[FILTERED]', '[FILTERED]', '[FILTERED]'])
})

t.test('custom levels hide like the others, and what else a pino can do is there', async (t) => {
  const { logger, lines } = covered({ customLevels: { notice: 35 }, level: 'trace' } as PinoOptions)
  const child = logger.child({ job: 1 }) as unknown as Logger & { notice: (fields: object) => void, bindings: () => object }
  child.notice({ password: 'x' })
  t.match(lines, [{ level: 35, password: '[FILTERED]' }])
  t.match(child.bindings(), { job: 1 })
  t.equal(child.isLevelEnabled?.('notice'), true)
})

t.test('silent now, speaking later', async (t) => {
  const { base, logger, lines } = covered({ level: 'silent' })
  logger.child({}).error({ password: 'x' })
  t.equal(lines.length, 0)
  base.level = 'info'
  logger.child({}).error({ password: 'x' })
  t.match(lines, [{ password: '[FILTERED]' }])
})

t.test('no logger at all stays none', async (t) => {
  const { log } = Fastify({ logger: false })
  t.equal(redaction.logger(log), log)
  t.equal(redaction.logger(silentLogger), silentLogger)
})

/** As some other library makes them: with parts that nobody can reach from outside. */
class OtherLogger {
  readonly #lines: Line[]
  readonly #bindings: object
  level = 'info'

  constructor (lines: Line[], bindings: object = {}) {
    this.#lines = lines
    this.#bindings = bindings
  }

  #write (level: string, fields: unknown, msg?: string): void { this.#lines.push({ ...this.#bindings, ...(typeof fields === 'object' ? fields : { msg: fields }), level, ...(msg === undefined ? {} : { msg }) }) }
  trace (fields: unknown, msg?: string): void { this.#write('trace', fields, msg) }
  debug (fields: unknown, msg?: string): void { this.#write('debug', fields, msg) }
  info (fields: unknown, msg?: string): void { this.#write('info', fields, msg) }
  warn (fields: unknown, msg?: string): void { this.#write('warn', fields, msg) }
  error (fields: unknown, msg?: string): void { this.#write('error', fields, msg) }
  fatal (fields: unknown, msg?: string): void { this.#write('fatal', fields, msg) }
  silent (): void {}
  isLevelEnabled (level: string): boolean { return this.#lines !== undefined && level !== 'trace' }
  child (bindings: object): OtherLogger { return new OtherLogger(this.#lines, { ...this.#bindings, ...bindings }) }
}

t.test('a logger of another make, given as loggerInstance', async (t) => {
  const lines: Line[] = []
  const app = Fastify({ loggerInstance: new OtherLogger(lines) })
  const logger = redaction.logger(app.log as unknown as Logger)
  logger.child({ job: 1, token: 'x' }).child({ n: 2 }).warn({ password: 'x' }, 'told')
  logger.info({ secret: 'x' })
  logger.trace({ secret: 'x' })
  t.same(lines, [{ job: 1, token: '[FILTERED]', n: 2, password: '[FILTERED]', level: 'warn', msg: 'told' }, { secret: '[FILTERED]', level: 'info' }])
  t.equal(logger.level, 'info')
})

t.test('a logger that throws throws to who called it, and to nobody else', async (t) => {
  const logger = redaction.logger({ ...silentLogger, isLevelEnabled: () => true, info: () => { throw new Error('disk full') } })
  t.throws(() => { logger.info({ password: 'x' }) }, { message: 'disk full' })
})
