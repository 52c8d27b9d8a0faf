/**
 * Every span that the library opens and every attribute that it sets, in words. The tables in the docs are made from
 * it. A test runs jobs with all endings and finds nothing that is not here.
 */
import type { ATTR } from './attributes.ts'

type AttributeKey = keyof typeof ATTR

export interface SpanEntry {
  /** `{…}` stands for the variable part. */
  readonly name: string
  readonly kind: 'SERVER' | 'PRODUCER' | 'CONSUMER' | 'INTERNAL' | 'CLIENT'
  /** What happens between its start and its end. */
  readonly about: string
  readonly attributes: readonly AttributeKey[]
}

const JOB = ['jobId', 'jobName'] as const
const MESSAGING = [
  'messagingSystem', 'messagingDestination', 'messagingOperationName', 'messagingOperationType', 'messagingMessageId'
] as const
const RUN = [...JOB, 'jobStatus', 'workerId', 'storeType', 'handlerType', 'retryCount', 'errorType'] as const

export const SPAN_CATALOGUE = {
  server: {
    name: '{method} {route}',
    kind: 'SERVER',
    about: 'A request that submits a job, from its first hook to its response. Only where no instrumentation has ' +
      'opened a span for it.',
    attributes: [
      'messagingConversationId', ...JOB, 'httpMethod', 'httpMethodOriginal', 'httpRoute', 'httpStatus', 'urlPath', 'urlScheme',
      'errorType'
    ]
  },
  send: {
    name: 'send {queue}',
    kind: 'PRODUCER',
    about: 'A submission, until the store has accepted the job. The job is stored with the context of this span.',
    attributes: [
      ...MESSAGING, 'messagingConversationId', ...JOB, 'jobStatus', 'storeType', 'handlerType', 'replayed', 'errorType'
    ]
  },
  process: {
    name: 'process {queue}',
    kind: 'CONSUMER',
    about: 'An attempt, from its claim until the store has stored its outcome. A stalled attempt gets a span too, ' +
      'without a handler, when another worker claims the job.',
    attributes: [...MESSAGING, 'messagingConversationId', 'messagingClientId', ...RUN, 'queueDuration', 'availableAt']
  },
  handler: {
    name: '{job name}',
    kind: 'INTERNAL',
    about: 'The handler of an attempt.',
    attributes: ['messagingConversationId', ...RUN]
  },
  work: {
    name: '{text}',
    kind: 'INTERNAL',
    about: 'The work that a handler passes to `job.span(text, work)`.',
    attributes: ['messagingConversationId', ...JOB, 'errorType']
  },
  step: {
    name: 'step {step}',
    kind: 'INTERNAL',
    about: 'One try of a step of a saga, or of `job.step()`. Siblings of a group overlap.',
    attributes: [
      'messagingConversationId', ...JOB, 'stepName', 'stepOrder', 'stepAttempt', 'stepMaxAttempts', 'stepStatus', 'stepDuration', 'errorType'
    ]
  },
  group: {
    name: 'group {step}',
    kind: 'INTERNAL',
    about: 'The siblings of a `parallel` or an `each`, as far as this attempt runs them.',
    attributes: ['messagingConversationId', ...JOB, 'stepName', 'stepOrder', 'stepStatus', 'stepDuration', 'errorType']
  },
  compensation: {
    name: 'compensation',
    kind: 'INTERNAL',
    about: 'All that this attempt undoes.',
    attributes: ['messagingConversationId', ...JOB, 'stepStatus', 'stepDuration', 'errorType']
  },
  compensate: {
    name: 'compensate {step}',
    kind: 'INTERNAL',
    about: 'One try of the compensation of a step.',
    attributes: [
      'messagingConversationId', ...JOB, 'stepName', 'stepOrder', 'stepAttempt', 'stepMaxAttempts', 'stepStatus', 'stepDuration', 'errorType'
    ]
  },
  settle: {
    name: 'settle {queue}',
    kind: 'CLIENT',
    about: 'The call that stores the outcome of an attempt. Only with `detailedTracing`.',
    attributes: [
      ...MESSAGING, 'messagingConversationId', 'messagingClientId', ...JOB, 'workerId', 'storeType', 'errorType'
    ]
  },
  store: {
    name: 'store {operation}',
    kind: 'CLIENT',
    about: 'An operation of the store inside a recorded span. Only with `detailedTracing`.',
    attributes: ['storeType', 'storeOperation', 'jobId', 'errorType']
  }
} as const satisfies Record<string, SpanEntry>

/** The meaning of each attribute. */
export const ATTRIBUTE_CATALOGUE: Readonly<Record<AttributeKey, string>> = {
  jobId: 'The id of the job.',
  jobName: 'The name of the job.',
  jobStatus: 'The state of the job when the span ended.',
  workerId: 'The worker: `host:pid:random`.',
  storeType: '`memory`, `bullmq`, or what a store of your own calls itself.',
  handlerType: 'What kind of handler runs the job: `function`, `saga` or `schedule`.',
  retryCount: 'Attempts before this one.',
  errorType: 'The code of the error, or the name of its class; `OperationCancelled`; the HTTP status on a server ' +
    'span. Only on spans that failed.',
  stateNew: 'On the event `State Applied: {state}`: the new state.',
  stateOld: 'On the same event: the previous state.',
  replayed: '`true` when the submission was answered with an existing job that has the same idempotency key.',
  retryDelay: 'On the same event: milliseconds until the job may run again.',
  queueDuration: 'Seconds from the moment the job could run to its claim.',
  availableAt: 'The moment the job could run, ISO 8601.',
  storeOperation: 'The operation of the store.',
  stepName: 'The step, as `group/name` in a group; on the events of a step too.',
  stepOrder: 'The place of the step in the list of all steps, from 1.',
  stepAttempt: 'Which try of the step this is, from 1; on the events of a step too.',
  stepMaxAttempts: 'How often the step is tried in all.',
  stepStatus: '`running`, `completed`, `failed`, `compensating` or `compensated`.',
  stepDuration: 'Milliseconds that the try took; on the events of a step too.',
  sagaPhase: 'On the span event `saga.resumed`: `forward` or `compensating`.',

  messagingSystem: 'The same as `store.type`.',
  messagingDestination: 'The name of the queue.',
  messagingOperationName: '`send`, `process` or `settle`.',
  messagingOperationType: 'The same as `messaging.operation.name`.',
  messagingMessageId: 'The id of the job.',
  messagingConversationId: 'The correlation id.',
  messagingClientId: 'The same as `worker.id`.',

  httpMethod: 'The method, or `_OTHER`.',
  httpMethodOriginal: 'The method, where `http.request.method` is `_OTHER`.',
  httpRoute: 'The template of the route.',
  httpStatus: 'The status of the response.',
  urlPath: 'The path, without its query.',
  urlScheme: '`http` or `https`.'
}
