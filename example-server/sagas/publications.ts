import { copyFile, writeFile } from 'node:fs/promises'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { discard } from '../../plugins/async-endpoints.ts'
import { FailAt, failIfAsked } from './fail-at.ts'
import type { Folder } from './folder.ts'

const PublicationRequest = Type.Object({
  title: Type.String({ minLength: 1, maxLength: 200 }),
  text: Type.String({ maxLength: 10_000 }),
  failAt: FailAt('write-draft', 'publish')
}, { additionalProperties: false })

const Approval = Type.Object({
  approved: Type.Boolean(),
  by: Type.String({ minLength: 1, maxLength: 100 })
}, { additionalProperties: false })

const Publication = Type.Object({ path: Type.String(), approvedBy: Type.String() })

/** Writes a draft and publishes it when somebody has approved it. Until then, it needs no worker and no memory. */
export function publicationSaga (fastify: FastifyInstance, folder: Folder): void {
  fastify.withTypeProvider<TypeBoxTypeProvider>().saga({
    method: 'POST',
    url: '/publications',
    name: 'publish-text',
    version: 1,
    schema: {
      summary: 'Publish a text after an approval',
      operationId: 'publishText',
      tags: ['sagas'],
      body: PublicationRequest,
      result: Publication
    },
    bodyLimit: 65_536,
    timeoutMs: 7 * 86_400_000,
    requires: { storage: folder.check },
    steps: (saga) => saga
      .step('write-draft', {
        run: async ({ body, signal, idempotencyKey }) => {
          failIfAsked(body, 'write-draft')
          const path = folder.path('work', idempotencyKey, '.txt')
          await folder.create(path, signal, (part) => writeFile(part, `${body.title}\n\n${body.text}\n`))
          return path
        },
        compensate: ({ stepKey }) => folder.remove(folder.path('work', stepKey, '.txt'))
      })
      .signal('approval', { schema: Approval, timeoutMs: 3 * 86_400_000 })
      .step('publish', {
        run: async ({ body, results, signal, idempotencyKey }) => {
          failIfAsked(body, 'publish')
          const { approved, by } = results.approval
          // More attempts would not change the answer. The draft is removed.
          if (!approved) throw discard(`not approved by ${by}`)
          const path = folder.path('bucket', idempotencyKey, '.txt')
          await folder.create(path, signal, (part) => copyFile(results['write-draft'], part))
          return path
        },
        compensate: ({ stepKey }) => folder.remove(folder.path('bucket', stepKey, '.txt'))
      })
      .step('clean-up', { onExhausted: 'continue', run: ({ results }) => folder.remove(results['write-draft']) })
      .returns(({ results }) => ({ path: results.publish, approvedBy: results.approval.by }))
  })
}
