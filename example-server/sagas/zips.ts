import { createWriteStream } from 'node:fs'
import { copyFile, mkdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { ZipFile } from 'yazl'
import { discard } from '../../plugins/async-endpoints.ts'
import { FailAt, failIfAsked } from './fail-at.ts'
import type { Folder } from './folder.ts'

const File = Type.Object({
  name: Type.String({ pattern: '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$' }),
  text: Type.String({ maxLength: 10_000 })
}, { additionalProperties: false })

const ZipRequest = Type.Object({
  files: Type.Array(File, { minItems: 1, maxItems: 20 }),
  failAt: FailAt('check-files', 'write-files', 'create-zip', 'upload-result', 'notify')
}, { additionalProperties: false })

const Zip = Type.Object({ path: Type.String(), files: Type.Integer(), bytes: Type.Integer() })

/** Writes files, zips them, uploads the archive and says so. What a step has made is removed when a later one fails. */
export function zipSaga (fastify: FastifyInstance, folder: Folder): void {
  fastify.withTypeProvider<TypeBoxTypeProvider>().saga({
    method: 'POST',
    url: '/zips',
    name: 'zip-files',
    version: 1,
    schema: {
      summary: 'Put files into a zip archive',
      operationId: 'zipFiles',
      tags: ['sagas'],
      body: ZipRequest,
      result: Zip
    },
    bodyLimit: 262_144,
    timeoutMs: 600_000,
    requires: { storage: folder.check },
    steps: (saga) => saga
      .step('check-files', ({ body }) => {
        failIfAsked(body, 'check-files')
        const names = body.files.map(({ name }) => name)
        if (new Set(names).size < names.length) throw discard('two files have the same name')
        return { names }
      })
      .step('write-files', {
        run: async ({ body, signal, idempotencyKey }) => {
          failIfAsked(body, 'write-files')
          const directory = folder.path('work', idempotencyKey)
          await folder.create(directory, signal, async (part) => {
            await mkdir(part)
            for (const { name, text } of body.files) await writeFile(join(part, name), text, { signal })
          })
          return { directory }
        },
        compensate: ({ stepKey }) => folder.remove(folder.path('work', stepKey))
      })
      .step('create-zip', {
        attempts: 3,
        backoff: { type: 'exponential', delayMs: 500 },
        timeoutMs: 60_000,
        run: async ({ body, results, signal, idempotencyKey }) => {
          failIfAsked(body, 'create-zip')
          const archive = folder.path('work', idempotencyKey, '.zip')
          const { directory } = results['write-files']
          await folder.create(archive, signal, (part) => zip(directory, results['check-files'].names, part, signal))
          return { archive }
        },
        compensate: ({ stepKey }) => folder.remove(folder.path('work', stepKey, '.zip'))
      })
      .step('upload-result', {
        run: async ({ body, results, signal, idempotencyKey }) => {
          failIfAsked(body, 'upload-result')
          const path = folder.path('bucket', idempotencyKey, '.zip')
          await folder.create(path, signal, (part) => copyFile(results['create-zip'].archive, part))
          return { path, bytes: (await stat(path)).size }
        },
        compensate: ({ stepKey }) => folder.remove(folder.path('bucket', stepKey, '.zip'))
      })
      .step('notify', {
        run: ({ body, results, signal, idempotencyKey }) => {
          failIfAsked(body, 'notify')
          return folder.post(idempotencyKey, signal, { subject: 'Your archive is ready', ...results['upload-result'] })
        },
        compensate: ({ stepKey }) => folder.remove(folder.path('outbox', stepKey, '.json'))
      })
      .step('clean-up', {
        onExhausted: 'continue',
        run: async ({ results }) => {
          await folder.remove(results['write-files'].directory)
          await folder.remove(results['create-zip'].archive)
        }
      })
      .returns(({ results }) => ({ ...results['upload-result'], files: results['check-files'].names.length }))
  })
}

/** Only a part of each file is in memory at any time. */
async function zip (directory: string, names: readonly string[], path: string, signal: AbortSignal): Promise<void> {
  const archive = new ZipFile()
  const bytes = Readable.from(archive.outputStream)
  archive.once('error', (error: Error) => bytes.destroy(error))
  for (const name of names) archive.addFile(join(directory, name), name)
  archive.end()
  await pipeline(bytes, createWriteStream(path), { signal })
}
