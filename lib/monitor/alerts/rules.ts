import { DELIVERY_JOB } from '../../events/webhook-catalogue.ts'
import type { AlertFinding, AlertSeverity, AlertType } from './alert.ts'
import { durationText } from '../duration-text.ts'
import type { NotUndone } from '../../jobs/not-undone.ts'
import type { AlertFacts, JobFacts, ProcessFacts, QueueFacts } from './alert-facts.ts'

/** What a rule compares with; `false`: it is switched off. */
export interface AlertThresholds {
  readonly slowP95Ms: number | false
  readonly slowJobMs: number | false
  readonly failedPerHour: number | false
  readonly failureRate: number | false
  readonly minSamples: number
  readonly stuck: { readonly count: number, readonly afterMs: number } | false
  readonly memoryRatio: number | false
  readonly deadLetterGrowth: number | false
  readonly failedCompensations: number | false
  readonly failedWebhooks: number | false
  readonly workerMissingMs: number | false
  readonly storeUnreachableMs: number | false
}

/** A built-in rule as the docs list it. */
export interface BuiltInRule {
  readonly name: string
  readonly type: AlertType
  readonly severity: AlertSeverity
  readonly title: string
  /** The option that sets the threshold, or switches the rule off. */
  readonly option: keyof AlertThresholds
  /** What is wrong when an alert of this rule fires, and what the details of the alert contain. */
  readonly about: string
  /** The rule raises one alert for each of these. */
  readonly per: 'cluster' | 'job' | 'queue' | 'process'
}

const RULES = {
  slowP95: {
    name: 'slow-p95',
    type: 'Performance',
    severity: 'medium',
    title: 'Slow Jobs',
    option: 'slowP95Ms',
    per: 'job',
    about: 'The 95th percentile of the time that the attempts of a job took in the last hour is over the threshold'
  },
  slowJobs: {
    name: 'slow-jobs',
    type: 'Performance',
    severity: 'high',
    title: 'Slow Job Processing Detected',
    option: 'slowJobMs',
    per: 'cluster',
    about: 'Attempts of the last hour, or attempts that are still running, took longer than the threshold; `jobs` lists the longest'
  },
  failureRate: {
    name: 'failure-rate',
    type: 'Error',
    severity: 'high',
    title: 'High Job Failure Rate',
    option: 'failureRate',
    per: 'job',
    about: 'A larger share of the jobs that ended in the last hour failed; `failure_rate`'
  },
  failedJobs: {
    name: 'failed-jobs',
    type: 'Error',
    severity: 'medium',
    title: 'Many Failed Jobs',
    option: 'failedPerHour',
    per: 'cluster',
    about: 'This many jobs, or more, failed in the last hour; `jobs` lists which'
  },
  stuckJobs: {
    name: 'stuck-jobs',
    type: 'System',
    severity: 'medium',
    title: 'Stuck Jobs Detected',
    option: 'stuck',
    per: 'cluster',
    about: 'This many jobs, or more, are in progress without a valid lease, and this lasts for `afterMs`: no worker claims them again; `jobs` lists those that began first'
  },
  memory: {
    name: 'memory',
    type: 'System',
    severity: 'high',
    title: 'High Memory Usage',
    option: 'memoryRatio',
    per: 'process',
    about: 'A process uses a larger share of its memory limit; `memory_usage_percent`'
  },
  deadLetters: {
    name: 'dead-letter-growth',
    type: 'Error',
    severity: 'medium',
    title: 'Failed Jobs Pile Up',
    option: 'deadLetterGrowth',
    per: 'cluster',
    about: 'The store keeps this many more failed jobs than at its lowest count in the last hour, whichever process ran them'
  },
  compensationFailed: {
    name: 'compensation-failed',
    type: 'Error',
    severity: 'critical',
    title: 'Saga Not Undone',
    option: 'failedCompensations',
    per: 'job',
    about: 'The store keeps this many failed sagas of a name, or more, that could not undo all of their steps, ' +
      'whichever process ran them; `jobs` lists which'
  },
  webhooksFailed: {
    name: 'webhooks-failed',
    type: 'Error',
    severity: 'high',
    title: 'Webhooks Not Delivered',
    option: 'failedWebhooks',
    per: 'cluster',
    about: 'This many webhooks, or more, were given up in the last hour: every attempt of their schedule failed, the receiver asked for no further one, or the workers that sent them died'
  },
  workerMissing: {
    name: 'worker-missing',
    type: 'System',
    severity: 'critical',
    title: 'No Worker Claims Jobs',
    option: 'workerMissingMs',
    per: 'queue',
    about: 'Jobs of a queue have waited for this long and no process claims them, although not every worker is busy'
  },
  workerSilent: {
    name: 'worker-silent',
    type: 'System',
    severity: 'high',
    title: 'Worker Does Not Consume',
    option: 'workerMissingMs',
    per: 'process',
    about: 'A worker that has free slots and is not paused has not looked for jobs for this long'
  },
  storeUnreachable: {
    name: 'store-unreachable',
    type: 'System',
    severity: 'critical',
    title: 'Job Store Unreachable',
    option: 'storeUnreachableMs',
    per: 'process',
    about: 'A process has not reached the store for this long; each process raises this alert for itself'
  }
} as const satisfies Record<string, BuiltInRule>

export const BUILT_IN_RULES: readonly BuiltInRule[] = Object.values(RULES)

/** @returns `unknown` when the facts that the rule needs could not be read: its alerts stay as they are */
type Judge = (
  facts: AlertFacts, thresholds: AlertThresholds, excludedFromSlow: (jobName: string) => boolean
) => AlertFinding[] | 'unknown'

/** Entries of a list in the details of an alert; nobody reads more. */
const LISTED = 20
/** Findings of one rule: the ledger keeps no more alerts of one rule. */
const MANY = 20

/** Every rule that needs only the facts. `store-unreachable` is not among them: each process judges it for itself. */
export const JUDGES: ReadonlyMap<string, Judge> = new Map<string, Judge>([
  [RULES.slowP95.name, ({ jobs }, { slowP95Ms, minSamples }, excluded) => {
    if (slowP95Ms === false) return []
    const candidates = jobs.filter(({ name, attempts, p95Ms = 0 }) => attempts >= minSamples && p95Ms > slowP95Ms && !excluded(name))
    return worst(candidates, ({ p95Ms = 0 }) => p95Ms).map(({ name, attempts, p95Ms = 0 }) => ({
      ...kindOf(RULES.slowP95),
      key: name,
      message: `95 % of the attempts of ${name} took up to ${durationText(p95Ms)}; the threshold is ${durationText(slowP95Ms)}`,
      details: { job_name: name, p95_ms: Math.round(p95Ms), attempts, threshold_ms: slowP95Ms }
    }))
  }],
  [RULES.slowJobs.name, ({ slowJobs }, { slowJobMs }) => {
    const [longest] = slowJobs
    if (slowJobMs === false || longest === undefined) return []
    const took = `${longest.running ? 'has been running for' : 'took'} ${durationText(longest.durationMs)}`
    const listed = slowJobs.slice(0, LISTED).map(({ jobId, jobName, durationMs, running }) => ({
      job_id: jobId, job_name: jobName, duration_ms: Math.round(durationMs), running
    }))
    return [{
      ...kindOf(RULES.slowJobs),
      message: `${longest.jobName} ${took}; the threshold is ${durationText(slowJobMs)}`,
      details: { threshold_ms: slowJobMs, jobs: listed }
    }]
  }],
  [RULES.failureRate.name, ({ jobs }, { failureRate, minSamples }) => {
    if (failureRate === false) return []
    const ended = ({ completed, failed }: JobFacts): number => completed + failed
    // Names with fewer than `minSamples` jobs are judged together, under an empty name.
    const alone = jobs.filter((job) => ended(job) >= minSamples)
    const rest = jobs.filter((job) => ended(job) < minSamples)
    const together: JobFacts = {
      name: '',
      completed: sum(rest, ({ completed }) => completed),
      failed: sum(rest, ({ failed }) => failed),
      attempts: 0,
      p95Ms: undefined
    }
    const judged = ended(together) >= minSamples ? [...alone, together] : alone
    const rate = (job: JobFacts): number => job.failed / ended(job)
    return worst(judged.filter((job) => rate(job) > failureRate), rate).map((job) => {
      const which = job.name === '' ? 'the jobs that run seldom' : job.name
      const share = `${percent(rate(job))} of ${which} failed in the last hour (${job.failed} of ${ended(job)})`
      return {
        ...kindOf(RULES.failureRate),
        key: job.name,
        message: `${share}; the threshold is ${percent(failureRate)}`,
        details: {
          ...(job.name === '' ? undefined : { job_name: job.name }),
          failure_rate: rounded(rate(job)),
          failed: job.failed,
          ended: ended(job),
          threshold: failureRate
        }
      }
    })
  }],
  [RULES.failedJobs.name, ({ jobs }, { failedPerHour }) => {
    const failed = sum(jobs, (job) => job.failed)
    if (failedPerHour === false || failed < failedPerHour) return []
    const which = worst(jobs.filter((job) => job.failed > 0), (job) => job.failed)
    return [{
      ...kindOf(RULES.failedJobs),
      message: `${failed} jobs failed in the last hour; the threshold is ${failedPerHour}`,
      details: { failed, threshold: failedPerHour, jobs: which.map((job) => ({ job_name: job.name, failed: job.failed })) }
    }]
  }],
  [RULES.stuckJobs.name, ({ queues }, { stuck }) => {
    if (stuck === false) return []
    if (queues === undefined) return 'unknown'
    const count = sum(queues, (queue) => queue.stuck)
    if (count < stuck.count) return []
    const all = queues.flatMap(({ stuckJobs, queue }) => stuckJobs.map((job) => ({ ...job, queue })))
    const listed = worst(all, ({ runningMs }) => runningMs).map(({ jobId, jobName, queue, state, runningMs }) => ({
      job_id: jobId, job_name: jobName, queue, status: state, running_ms: Math.round(runningMs)
    }))
    return [{
      ...kindOf(RULES.stuckJobs),
      forMs: stuck.afterMs,
      message: `${count} jobs are in progress without a valid lease, and no worker has claimed them again; ` +
        `there have been ${stuck.count} or more for ${durationText(stuck.afterMs)}`,
      details: { stuck: count, threshold: stuck.count, jobs: listed }
    }]
  }],
  [RULES.memory.name, ({ processes }, { memoryRatio }) => {
    if (memoryRatio === false) return []
    const used = ({ memory }: ProcessFacts): number => memory.usedBytes / memory.limitBytes
    return worst(processes.filter((process) => used(process) > memoryRatio), used).map((process) => {
      const { instance, memory: { usedBytes, limitBytes } } = process
      const use = `${percent(used(process))} of its memory (${mebibytes(usedBytes)} of ${mebibytes(limitBytes)} MiB)`
      return {
        ...kindOf(RULES.memory),
        key: instance,
        message: `${instance} uses ${use}; the threshold is ${percent(memoryRatio)}`,
        details: {
          instance,
          memory_usage_percent: rounded(100 * used(process)),
          used_bytes: usedBytes,
          limit_bytes: limitBytes,
          threshold_percent: rounded(100 * memoryRatio)
        }
      }
    })
  }],
  [RULES.deadLetters.name, ({ deadLetters }, { deadLetterGrowth }) => {
    if (deadLetterGrowth === false) return []
    if (deadLetters === undefined) return 'unknown'
    const { growth, kept } = deadLetters
    if (growth < deadLetterGrowth) return []
    const grown = `the store keeps ${growth} more failed jobs than at its lowest count in the last hour, ${kept} in total`
    return [{
      ...kindOf(RULES.deadLetters),
      message: `${grown}; the threshold is ${deadLetterGrowth}`,
      details: { kept, growth, threshold: deadLetterGrowth }
    }]
  }],
  [RULES.compensationFailed.name, ({ queues }, { failedCompensations: threshold }) => {
    if (threshold === false) return []
    if (queues === undefined) return 'unknown'
    const byName = new Map<string, NotUndone[]>()
    for (const failed of queues.flatMap(({ notUndone }) => notUndone)) {
      byName.set(failed.jobName, [...byName.get(failed.jobName) ?? [], failed])
    }
    const many = [...byName].filter(([, failed]) => failed.length >= threshold)
    return worst(many, ([, failed]) => failed.length).map(([name, failed]) => {
      const count = failed.length === 1 ? '1 saga' : `${failed.length} sagas`
      const [{ jobId, steps } = { jobId: '', steps: '' }] = failed
      return {
        ...kindOf(RULES.compensationFailed),
        key: name,
        message: `${count} ${name} could not undo all steps; the newest is ${jobId}, with the steps ${steps}. ` +
          'What these did is still in effect: read their errors in the status of the job, mend the cause, redrive it',
        details: {
          job_name: name,
          failed: failed.length,
          threshold,
          jobs: failed.map(({ jobId, steps }) => ({ job_id: jobId, steps }))
        }
      }
    })
  }],
  [RULES.webhooksFailed.name, ({ jobs }, { failedWebhooks }) => {
    const { failed = 0 } = jobs.find(({ name }) => name === DELIVERY_JOB) ?? {}
    if (failedWebhooks === false || failed < failedWebhooks) return []
    const count = failed === 1 ? '1 webhook was' : `${failed} webhooks were`
    return [{
      ...kindOf(RULES.webhooksFailed),
      message: `${count} given up in the last hour; the log lines 11103 name receivers and deliveries. ` +
        'Redrive the deliveries when their receivers work again',
      details: { failed, threshold: failedWebhooks }
    }]
  }],
  [RULES.workerMissing.name, ({ queues }, { workerMissingMs }) => {
    if (workerMissingMs === false) return []
    if (queues === undefined) return 'unknown'
    const missing = queues.filter(({ oldestAgeMs = 0, claimAgeMs, busy }) => oldestAgeMs > workerMissingMs && claimAgeMs > workerMissingMs && !busy)
    return worst(missing, ({ oldestAgeMs = 0 }) => oldestAgeMs).map((facts) => {
      const { queue, states: { queued, scheduled }, oldestAgeMs = 0, claimAgeMs, paused } = facts
      const waiting = `jobs wait in the queue ${queue}, the oldest for ${durationText(oldestAgeMs)} (${queued} queued, ${scheduled} scheduled)`
      return {
        ...kindOf(RULES.workerMissing),
        key: queue,
        message: `${waiting}, and ${why(facts)}`,
        details: {
          queue,
          queued,
          oldest_age_ms: Math.round(oldestAgeMs),
          last_claim_ms: Math.round(claimAgeMs),
          paused,
          threshold_ms: workerMissingMs
        }
      }
    })
  }],
  [RULES.workerSilent.name, ({ processes }, { workerMissingMs }) => {
    if (workerMissingMs === false) return []
    const all = processes.flatMap(({ instance, consumers }) => consumers.map((consumer) => ({ instance, ...consumer })))
    const silent = all.filter(({ active, concurrency, paused, silentMs }) => !paused && active < concurrency && silentMs > workerMissingMs)
    return worst(silent, ({ silentMs }) => silentMs).map(({ instance, queue, active, silentMs }) => {
      const quiet = `has free slots but has not looked for jobs in the queue ${queue} for ${durationText(silentMs)}`
      return {
        ...kindOf(RULES.workerSilent),
        key: `${instance}:${queue}`,
        message: `the worker ${instance} ${quiet}: restart it if it does not recover`,
        details: { instance, queue, active, silent_ms: Math.round(silentMs), threshold_ms: workerMissingMs }
      }
    })
  }]
])

/**
 * Each process evaluates this rule for itself. @param awayMs for how long the store has not answered; `undefined`: it
 * answers
 */
export function storeUnreachable (
  instance: string, storeType: string, awayMs: number | undefined, { storeUnreachableMs }: AlertThresholds
): AlertFinding[] {
  if (storeUnreachableMs === false || awayMs === undefined || awayMs < storeUnreachableMs) return []
  const advice = 'check its server and the network. Alerts that need the store are not evaluated until it is back'
  return [{
    ...kindOf(RULES.storeUnreachable),
    key: instance,
    message: `process ${instance} has not reached the ${storeType} store for ${durationText(awayMs)}: ${advice}`,
    details: { instance, store_type: storeType, away_ms: Math.round(awayMs), threshold_ms: storeUnreachableMs }
  }]
}

export const STORE_UNREACHABLE = RULES.storeUnreachable.name

/** What all findings of a rule have in common. */
function kindOf ({ type, severity, title }: BuiltInRule): Pick<AlertFinding, 'type' | 'severity' | 'title'> {
  return { type, severity, title }
}

function why ({ paused, claimAgeMs }: QueueFacts): string {
  return paused ? 'every worker of this queue is paused' : `no worker has claimed a job of it for ${durationText(claimAgeMs)}`
}

function worst<T> (entries: readonly T[], weight: (entry: T) => number): T[] {
  return [...entries].sort((a, b) => weight(b) - weight(a)).slice(0, MANY)
}

function sum<T> (entries: readonly T[], value: (entry: T) => number): number {
  return entries.reduce((total, entry) => total + value(entry), 0)
}

function rounded (value: number): number { return Math.round(value * 1_000) / 1_000 }
function percent (ratio: number): string { return `${Math.round(ratio * 1_000) / 10} %` }
function mebibytes (bytes: number): string { return String(Math.round(bytes / 1_048_576)) }
