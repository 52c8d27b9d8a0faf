/**
 * Every span we open and every attribute we set, in words: what the table in the docs is made of. A test runs jobs of all
 * fates and finds nothing that is not here.
 */
import type { ATTR } from './attributes.ts'

type AttributeKey = keyof typeof ATTR

export interface SpanEntry {
  /** `{…}` stands for what differs. */
  readonly name: string
  readonly kind: 'SERVER' | 'PRODUCER' | 'CONSUMER' | 'INTERNAL' | 'CLIENT'
  /** What lies between its start and its end. */
  readonly about: string
  readonly attributes: readonly AttributeKey[]
}

const JOB = ['jobId', 'jobName'] as const
const MESSAGING = ['messagingSystem', 'messagingDestination', 'messagingOperationName', 'messagingOperationType', 'messagingMessageId'] as const
const RUN = [...JOB, 'jobStatus', 'workerId', 'storeType', 'handlerType', 'retryCount', 'errorType'] as const

export const SPAN_CATALOGUE = {
  server: {
    name: '{method} {route}',
    kind: 'SERVER',
    about: 'A request that submits a job, from its first hook to its response. Only where nobody else has opened a span for it.',
    attributes: ['messagingConversationId', ...JOB, 'httpMethod', 'httpMethodOriginal', 'httpRoute', 'httpStatus', 'urlPath', 'urlScheme', 'errorType']
  },
  send: {
    name: 'send {queue}',
    kind: 'PRODUCER',
    about: 'A submission: until the store has confirmed the job. The job carries this span\'s context.',
    attributes: [...MESSAGING, 'messagingConversationId', ...JOB, 'jobStatus', 'storeType', 'handlerType', 'replayed', 'errorType']
  },
  process: {
    name: 'process {queue}',
    kind: 'CONSUMER',
    about: 'An attempt: from its claim until the store has taken its ending. A stall has one of its own, without a handler, when another worker accounts for it.',
    attributes: [...MESSAGING, 'messagingConversationId', 'messagingClientId', ...RUN, 'queueDuration', 'availableAt']
  },
  handler: { name: '{job name}', kind: 'INTERNAL', about: 'The handler of an attempt.', attributes: ['messagingConversationId', ...RUN] },
  work: { name: '{text}', kind: 'INTERNAL', about: 'What a handler wraps in `job.span(text, work)`.', attributes: ['messagingConversationId', ...JOB, 'errorType'] },
  settle: {
    name: 'settle {queue}',
    kind: 'CLIENT',
    about: 'The store\'s part in the ending of an attempt. Only with `detailedTracing`.',
    attributes: [...MESSAGING, 'messagingConversationId', 'messagingClientId', ...JOB, 'workerId', 'storeType', 'errorType']
  },
  store: {
    name: 'store {operation}',
    kind: 'CLIENT',
    about: 'An operation of the store inside a span that is recorded. Only with `detailedTracing`.',
    attributes: ['storeType', 'storeOperation', 'jobId', 'errorType']
  }
} as const satisfies Record<string, SpanEntry>

/** What each attribute says. */
export const ATTRIBUTE_CATALOGUE: Readonly<Record<AttributeKey, string>> = {
  jobId: 'The job.',
  jobName: 'What kind of job.',
  jobStatus: 'Its state when the span ended.',
  workerId: 'Which worker ran it: `host:pid:random`.',
  storeType: '`memory`, `bullmq`, or what a store of your own calls itself.',
  handlerType: 'What kind of handler: `function`.',
  retryCount: 'Attempts before this one.',
  errorType: 'The code of the error, or the name of its class; `OperationCancelled`; a status for the server span. Only on what went wrong.',
  stateNew: 'On the event `State Applied: {state}`: the state now.',
  stateOld: 'On the same event: the state before.',
  replayed: '`true` when the answer was the job of a known idempotency key.',
  retryDelay: 'On the same event: milliseconds until the job may run again.',
  queueDuration: 'Seconds from the moment the job could run to its claim.',
  availableAt: 'That moment, ISO 8601.',
  storeOperation: 'What was asked of the store.',

  messagingSystem: 'As `store.type`.',
  messagingDestination: 'The queue.',
  messagingOperationName: '`send`, `process` or `settle`.',
  messagingOperationType: 'The same.',
  messagingMessageId: 'The job.',
  messagingConversationId: 'The correlation id.',
  messagingClientId: 'The worker.',

  httpMethod: 'The method, or `_OTHER`.',
  httpMethodOriginal: 'The method that became `_OTHER`.',
  httpRoute: 'The template of the route.',
  httpStatus: 'The status of the response.',
  urlPath: 'The path, without its query.',
  urlScheme: '`http` or `https`.'
}
