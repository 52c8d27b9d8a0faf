/**
 * The attributes that the spans of a job have from their start. Each set is one literal with its names written out: V8
 * makes such an object in one step, and one with computed names key by key.
 */
import type { AttributeValue } from '@opentelemetry/api'
import type { HandlerType } from '../jobs/definition.ts'
import type { JobRecord, NewJob } from '../jobs/job.ts'
import type { ATTR } from './attributes.ts'

export type MessagingOperation = 'send' | 'process' | 'settle'

type Known = { [K in (typeof ATTR)[keyof typeof ATTR]]?: AttributeValue }

export function messagingAttributes (operation: MessagingOperation, queue: string, storeType: string, jobName: string) {
  return {
    'messaging.system': storeType,
    'messaging.destination.name': queue,
    'messaging.operation.name': operation,
    'messaging.operation.type': operation,
    'job.name': jobName
  } satisfies Known
}

type SentJob = Pick<NewJob, 'id' | 'name' | 'queue' | 'correlationId'>

export function sendAttributes ({ id, name, queue, correlationId }: SentJob, storeType: string, handlerType: HandlerType) {
  return {
    'messaging.system': storeType,
    'messaging.destination.name': queue,
    'messaging.operation.name': 'send',
    'messaging.operation.type': 'send',
    'messaging.message.id': id,
    'messaging.message.conversation_id': correlationId,
    'job.id': id,
    'job.name': name,
    'store.type': storeType,
    'handler.type': handlerType
  } satisfies Known
}

export function processAttributes (
  { id, name, queue, correlationId, attempts }: JobRecord, workerId: string, storeType: string, handlerType: HandlerType
) {
  return {
    'messaging.system': storeType,
    'messaging.destination.name': queue,
    'messaging.operation.name': 'process',
    'messaging.operation.type': 'process',
    'messaging.message.id': id,
    'messaging.message.conversation_id': correlationId,
    'messaging.client.id': workerId,
    'job.id': id,
    'job.name': name,
    'job.status': 'in-progress',
    'worker.id': workerId,
    'store.type': storeType,
    'handler.type': handlerType,
    'retry.count': Math.max(0, attempts - 1)
  } satisfies Known
}

export function handlerAttributes (
  { id, name, correlationId, attempts }: JobRecord, workerId: string, storeType: string, handlerType: HandlerType
) {
  return {
    'messaging.message.conversation_id': correlationId,
    'job.id': id,
    'job.name': name,
    'job.status': 'in-progress',
    'worker.id': workerId,
    'store.type': storeType,
    'handler.type': handlerType,
    'retry.count': Math.max(0, attempts - 1)
  } satisfies Known
}

export function settleAttributes ({ id, name, queue, correlationId }: JobRecord, workerId: string, storeType: string) {
  return {
    'messaging.system': storeType,
    'messaging.destination.name': queue,
    'messaging.operation.name': 'settle',
    'messaging.operation.type': 'settle',
    'messaging.message.id': id,
    'messaging.message.conversation_id': correlationId,
    'messaging.client.id': workerId,
    'job.id': id,
    'job.name': name,
    'worker.id': workerId,
    'store.type': storeType
  } satisfies Known
}
