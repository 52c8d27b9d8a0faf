import t from 'tap'
import { compileDefinition } from '../../lib/jobs/compile-definition.ts'
import type { JobDefinitionInput } from '../../lib/jobs/definition.ts'
import { cancel, discard, isOutcome, outcomeKind, snooze } from '../../lib/jobs/outcome.ts'
import { JobRegistry } from '../../lib/jobs/registry.ts'

const handler = async (): Promise<void> => {}

t.test('defaults: ours, then the application\'s, then the definition\'s', async (t) => {
  const plain = compileDefinition({ name: 'a', handler })
  t.match(plain, { name: 'a', queue: 'default', maxAttempts: 3, timeoutMs: 1_800_000, graceMs: 2_000, priority: 0, maxResultBytes: 1_048_576 })
  const application = { queue: 'slow', retry: { attempts: 7 }, timeoutMs: 5 }
  t.match(compileDefinition({ name: 'b', handler }, application), { queue: 'slow', maxAttempts: 7, timeoutMs: 5 })
  t.match(compileDefinition({ name: 'c', handler, queue: 'own', retry: { backoff: { delayMs: 1 } } }, application), { queue: 'own', maxAttempts: 7 }, 'an unset part of retry keeps its default')
})

t.test('every bad option of a definition is named', async (t) => {
  const bad = { name: 'bad name!', handler: 5, queue: 'a:b', retry: { attempts: 0, often: true }, timeoutMs: -1, typo: 1 } as unknown as JobDefinitionInput
  const error = t.throws(() => compileDefinition(bad), { code: 'FAE_INVALID_OPTIONS' }) as unknown as Error
  for (const key of ['name', 'handler', 'queue', 'retry.attempts', 'retry.often', 'timeoutMs', 'typo']) t.match(error.message, key)
  t.doesNotThrow(() => compileDefinition({ name: 'x' }), 'a worker of another process may have the handler')
  t.throws(() => compileDefinition(undefined as unknown as JobDefinitionInput), { code: 'FAE_INVALID_OPTIONS' })
})

t.test('names are unique, and watchers hear of every definition', async (t) => {
  const registry = new JobRegistry()
  registry.add(compileDefinition({ name: 'a', handler }))
  const heard: string[] = []
  registry.watch(({ name }) => heard.push(name))
  registry.add(compileDefinition({ name: 'b', handler, queue: 'q' }))
  t.throws(() => registry.add(compileDefinition({ name: 'a', handler })), { code: 'FAE_DUPLICATE_JOB' })
  t.same(heard, ['a', 'b'])
  t.same(registry.queues(), ['default', 'q'])
  t.throws(() => registry.require('zzz'), { code: 'FAE_UNKNOWN_JOB' })
  t.equal(registry.require('b').queue, 'q')
})

t.test('outcomes are values that are recognised, and nothing else is', async (t) => {
  t.equal(outcomeKind(snooze(5)), 'snooze')
  t.equal(outcomeKind(cancel()), 'cancel')
  t.equal(outcomeKind(discard('bad input')), 'discard')
  for (const other of [undefined, null, 1, 'snooze', {}, { kind: 'snooze' }]) t.notOk(isOutcome(other))
  t.throws(() => snooze(-1), TypeError)
  t.throws(() => snooze(Number.NaN), TypeError)
})
