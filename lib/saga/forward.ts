/** Walks the list of a saga's steps, from the first that is not done. */
import { AsyncEndpointsError } from '../core/errors.ts'
import { MAX_DELAY_MS } from '../jobs/outcome.ts'
import {
  plannedNode, type EachPlan, type SagaNode, type SignalPlan, type SleepPlan, type StepPlan
} from '../jobs/saga-plan.ts'
import type { Settlement } from '../jobs/store.ts'
import { toStoredError } from '../jobs/stored-error.ts'
import { GroupRunner } from './group-runner.ts'
import { isDone, parseValue } from './journal.ts'
import { endingBy, SagaFailure, Stopped, Suspended, type Run } from './run.ts'
import { assertWentOn, decide, failureOf, prepareStep, runLeg, type RunnableStep } from './step-runner.ts'
import { encodeResult, type EncodedResult } from './step-result.ts'

/**
 * Runs what is not done yet. The end of each step is noted, and stored together with the beginning of the next one: so
 * that no step begins before the one before it is stored, and each costs one write.
 *
 * @returns the settlement of the completed saga
 * @throws {SagaFailure}, {Suspended}, {Stopped}, {LeaseLost}
 */
export async function goForward (run: Run): Promise<Settlement> {
  endCrashedSteps(run)
  for (const node of run.plan.nodes) {
    if (isNodeDone(run, node)) continue
    run.throwIfStopped()
    switch (node.kind) {
      case 'step': await runStep(run, node); break
      case 'parallel': await new GroupRunner(run, node, node.steps).run(); break
      case 'each': await runEach(run, node); break
      case 'sleep': await sleepThrough(run, node); break
      case 'signal': await awaitSignal(run, node); break
    }
  }
  return await complete(run)
}

function isNodeDone (run: Run, node: SagaNode): boolean {
  const { journal } = run
  if (node.kind === 'parallel') return node.steps.every(({ path }) => isDone(journal.step(path)))
  if (!isDone(journal.step(node.path))) return false
  return node.kind !== 'each' || siblingPaths(run, node).every((path) => isDone(journal.step(path)))
}

/**
 * A step on which one worker after the other dies has failed for good.
 *
 * @throws {SagaFailure} `FAE_STEP_CRASHED`
 */
function endCrashedSteps (run: Run): void {
  const { journal, plan } = run
  const { crashes } = journal
  if (crashes < plan.maxCrashes) return
  const error = {
    code: 'FAE_STEP_CRASHED',
    message: `The step was begun ${crashes} times, and each time its worker died before it had ended`
  }
  const failures: SagaFailure[] = []
  for (const [path, facts] of [...journal.steps()]) {
    if (facts.s !== 'r' && facts.s !== 'b') continue
    const node = plannedNode(plan, path)
    const step = node?.kind === 'step' ? node : undefined
    const goesOn = step?.onExhausted === 'continue'
    journal.setStep(path, { ...facts, s: 'f', q: 1, e: error, u: undefined, g: goesOn ? 1 : undefined })
    if (!goesOn) {
      failures.push(
        step === undefined ? new SagaFailure(path, error) : failureOf({ ...step, path }, { ...facts, e: error })
      )
    }
  }
  const [first] = failures
  if (first !== undefined) throw failures.find(({ mode }) => mode === 'compensate') ?? first
  // No step had begun: something between them ends the process, such as a condition.
  if (journal.crashes >= plan.maxCrashes) throw new SagaFailure('', error)
}

async function runStep (run: Run, step: StepPlan): Promise<void> {
  if (!await prepareStep(run, step)) return
  await run.journal.flush()
  run.events.stepsReady([step.path])
  const end = await runLeg(run, step)
  assertWentOn(run, end)
  if (typeof end === 'object') throw new Suspended(step.path, end.waitUntil, 'backoff')
}

// ---- each ----

function siblingPaths ({ journal }: Run, { path }: EachPlan): string[] {
  return Array.from({ length: journal.names?.g?.[path] ?? 0 }, (_, index) => `${path}/${index}`)
}

async function runEach (run: Run, node: EachPlan): Promise<void> {
  const { journal } = run
  if (!isDone(journal.step(node.path))) await readList(run, node)
  const text = journal.value(node.path)
  const items: unknown = text === undefined ? [] : parseValue(node.path, text)
  const siblings = siblingPaths(run, node).map((path, index): RunnableStep => ({
    ...node.step, path, name: String(index), group: node.path, item: Array.isArray(items) ? items[index] : undefined,
    index
  }))
  await new GroupRunner(run, node, siblings).run()
}

/**
 * Reads the list of an `each`: once, and it is stored before the first of its items begins.
 *
 * @throws {SagaFailure} when its function throws, or gives something else than a list that is short enough
 */
async function readList (run: Run, node: EachPlan): Promise<void> {
  const { journal, plan, runtime: { redaction } } = run
  const { path, maxItems } = node
  let count: number
  let encoded: EncodedResult | undefined
  try {
    const list = await decide(run, node.list)
    if (!Array.isArray(list)) {
      throw new AsyncEndpointsError('FAE_STEP_RESULT_NOT_SERIALIZABLE', `The list of "${path}" is not an array`)
    }
    if (list.length > maxItems) {
      throw new AsyncEndpointsError(
        'FAE_STEP_RESULT_TOO_LARGE', `The list of "${path}" has ${list.length} items, maxItems is ${maxItems}`
      )
    }
    count = list.length
    encoded = encodeResult(
      path, list,
      { maxBytes: plan.maxStepResultBytes, maxTotalBytes: plan.maxResultsBytes, storedBytes: journal.valueBytes },
      redaction.text
    )
  } catch (thrown) {
    throw failNode(run, node, thrown)
  }
  if (encoded !== undefined) journal.setValue(path, encoded.text, encoded.bytes)
  journal.setStep(path, { s: 'c', a: 1, m: 1, t: run.now() })
  const { names } = journal
  if (names !== undefined) journal.setNames({ ...names, g: { ...names.g, [path]: count } })
  journal.setHead({ t: journal.head.t + count })
}

// ---- waiting ----

/** @throws {Suspended} until it is over */
async function sleepThrough (run: Run, node: SleepPlan): Promise<void> {
  const { journal } = run
  const { path, ms } = node
  const facts = journal.step(path)
  const began = facts === undefined || facts.s === 'p'
  const t = began ? run.now() : facts.t
  let until = began ? undefined : facts.u
  if (until === undefined) {
    let delayMs: unknown
    try {
      delayMs = typeof ms === 'number' ? ms : await decide(run, ms)
      if (typeof delayMs !== 'number' || !(delayMs >= 0 && delayMs <= MAX_DELAY_MS)) {
        throw new AsyncEndpointsError(
          'FAE_INVALID_OPTIONS', `The time of sleep "${path}" is not a number of milliseconds, 0 to ${MAX_DELAY_MS}`
        )
      }
    } catch (thrown) {
      throw failNode(run, node, thrown)
    }
    until = t + Math.ceil(Number(delayMs))
    journal.setStep(path, { s: 'w', a: 0, m: 1, t, u: until })
  }
  if (until > run.now()) throw new Suspended(path, until, 'sleep')
  journal.setStep(path, { s: 'c', a: 1, m: 1, t, d: run.now() - t })
}

/** @throws {Suspended} until the signal is there; {SagaFailure} when it did not come in time */
async function awaitSignal (run: Run, node: SignalPlan): Promise<void> {
  const { journal } = run
  const { path, timeoutMs, onExhausted } = node
  const facts = journal.step(path)
  if (facts?.s === 'f') {
    throw new SagaFailure(path, facts.e ?? { code: 'FAE_SIGNAL_TIMEOUT', message: '' }, endingBy(onExhausted))
  }
  const began = facts === undefined || facts.s === 'p'
  const t = began ? run.now() : facts.t
  const until = timeoutMs > 0 ? t + timeoutMs : undefined
  const text = journal.signal(path)
  if (text !== undefined) {
    parseValue(path, text)
    journal.setValue(path, text)
    journal.setStep(path, { s: 'c', a: 1, m: 1, t, d: run.now() - t, y: 1 })
    return
  }
  if (began) journal.setStep(path, { s: 'w', a: 0, m: 1, t, u: until })
  if (until === undefined || until > run.now()) throw new Suspended(path, until, 'signal', path)
  const error = { code: 'FAE_SIGNAL_TIMEOUT', message: `No signal "${path}" came within ${timeoutMs} ms` }
  const goesOn = onExhausted === 'continue'
  journal.setStep(path, { s: 'f', a: 1, m: 1, t, d: run.now() - t, e: error, g: goesOn ? 1 : undefined })
  if (!goesOn) throw new SagaFailure(path, error, endingBy(onExhausted))
}

/**
 * A function of the definition that only decides has thrown, or given something unusable.
 *
 * @throws {Stopped} when the attempt was stopped meanwhile
 */
function failNode (run: Run, { path }: SagaNode, thrown: unknown): SagaFailure {
  if (thrown instanceof Stopped) throw thrown
  const error = toStoredError(thrown, run.runtime.redaction.text)
  run.journal.setStep(path, { s: 'f', a: 1, m: 1, t: run.now(), e: error })
  return new SagaFailure(path, error)
}

// ---- the end ----

/** The end of the last step travels with the settlement. */
async function complete (run: Run): Promise<Settlement> {
  const { journal, plan, scope, events, runtime: { redaction } } = run
  let settlement: Settlement
  try {
    settlement = scope.settle(await decide(run, plan.returns))
  } catch (thrown) {
    if (thrown instanceof Stopped) throw thrown
    throw new SagaFailure('', toStoredError(thrown, redaction.text))
  }
  if (settlement.kind === 'failed') throw new SagaFailure('', settlement.error)
  if (settlement.kind !== 'completed') {
    throw new SagaFailure('', {
      code: 'FAE_RESULT_NOT_SERIALIZABLE', message: 'returns() of a saga gives a result, and nothing else'
    })
  }
  journal.setHead({ x: journal.endMark })
  journal.setUndo(false)
  const { t: total } = journal.head
  const { checkpoint, stored } = await journal.take()
  scope.onSettled((verdict) => {
    if (verdict.kind !== 'stored') return
    stored()
    events.sagaCompleted(total)
  })
  return { ...settlement, checkpoint }
}
