import { createWriteStream } from 'node:fs'
import { copyFile } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import sharp from 'sharp'
import { Type, type Static } from 'typebox'
import { FailAt, failIfAsked } from './fail-at.ts'
import type { Folder } from './folder.ts'

const WIDTHS = { hd: 1_280, sd: 640, thumbnail: 160, uhd: 3_840 } as const
type Size = keyof typeof WIDTHS
const SIZES: readonly Size[] = ['hd', 'sd', 'thumbnail', 'uhd']

const TranscodeRequest = Type.Object({
  /** How many of the sizes, in their order. */
  renditions: Type.Integer({ minimum: 1, maximum: SIZES.length, default: 3 }),
  /** Of the source, in pixels. No rendition is wider. */
  width: Type.Integer({ minimum: 320, maximum: 4_096, default: 1_920 }),
  failAt: FailAt('make-source', 'probe', 'hd', 'sd', 'thumbnail', 'uhd', 'upload', 'notify')
}, { additionalProperties: false })
type Request = Static<typeof TranscodeRequest>

const Transcoded = Type.Object({ paths: Type.Array(Type.String()), notified: Type.Boolean() })

/** Makes an image, and smaller ones of it side by side. What was made is removed when a later step fails. */
export function transcodeSaga (fastify: FastifyInstance, folder: Folder): void {
  /** What a step of the group is, for each size. */
  const rendition = (size: Size) => ({
    attempts: 5,
    backoff: { type: 'exponential', delayMs: 200 },
    timeoutMs: 60_000,
    when: ({ body, results }: Known) => SIZES.indexOf(size) < body.renditions && WIDTHS[size] <= results.probe.width,
    run: async ({ body, results, signal, idempotencyKey }: Known & Try) => {
      failIfAsked(body, size)
      const path = folder.path('work', idempotencyKey, '.webp')
      const image = sharp(results['make-source']).resize(WIDTHS[size]).webp()
      await folder.create(path, signal, (part) => pipeline(image, createWriteStream(part), { signal }))
      return path
    },
    compensate: ({ stepKey }: { readonly stepKey: string }) => folder.remove(folder.path('work', stepKey, '.webp'))
  } as const)

  fastify.withTypeProvider<TypeBoxTypeProvider>().saga({
    method: 'POST',
    url: '/transcodes',
    name: 'transcode',
    version: 1,
    schema: {
      summary: 'Make renditions of an image',
      operationId: 'transcode',
      tags: ['sagas'],
      body: TranscodeRequest,
      result: Transcoded
    },
    timeoutMs: 3_600_000,
    requires: { storage: folder.check },
    steps: (saga) => saga
      .step('make-source', {
        run: async ({ body, signal, idempotencyKey }) => {
          failIfAsked(body, 'make-source')
          const { width } = body
          const path = folder.path('work', idempotencyKey, '.png')
          const height = Math.round(width * 9 / 16)
          const image = sharp({ create: { width, height, channels: 3, background: '#285e8e' } })
          await folder.create(path, signal, (part) => image.png().toFile(part))
          return path
        },
        compensate: ({ stepKey }) => folder.remove(folder.path('work', stepKey, '.png'))
      })
      .step('probe', async ({ body, results }) => {
        failIfAsked(body, 'probe')
        const { width, height } = await sharp(results['make-source']).metadata()
        return { width, height }
      })
      .parallel('renditions', (group) => group
        .step('hd', rendition('hd'))
        .step('sd', rendition('sd'))
        .step('thumbnail', rendition('thumbnail'))
        .step('uhd', rendition('uhd')), { concurrency: 2 })
      .each('upload', ({ results }) => Object.values(results.renditions).filter((path) => path !== undefined), {
        run: async ({ item, body, signal, idempotencyKey }) => {
          failIfAsked(body, 'upload')
          const path = folder.path('bucket', idempotencyKey, '.webp')
          await folder.create(path, signal, (part) => copyFile(item, part))
          return path
        },
        compensate: ({ stepKey }) => folder.remove(folder.path('bucket', stepKey, '.webp'))
      })
      // Like a webhook: it is tried once, and the renditions are good without it.
      .step('notify', {
        attempts: 1,
        onExhausted: 'continue',
        run: ({ body, results, signal, idempotencyKey }) => {
          failIfAsked(body, 'notify')
          return folder.post(idempotencyKey, signal, { subject: 'Your renditions are ready', paths: results.upload })
        },
        compensate: ({ stepKey }) => folder.remove(folder.path('outbox', stepKey, '.json'))
      })
      .step('clean-up', {
        onExhausted: 'continue',
        run: async ({ results }) => {
          const paths = [results['make-source'], ...Object.values(results.renditions)]
          await Promise.all(paths.filter((path) => path !== undefined).map((path) => folder.remove(path)))
        }
      })
      .returns(({ results }) => ({ paths: results.upload, notified: results.notify !== undefined }))
  })
}

/** What the steps of the group use of what they are given. */
interface Known {
  readonly body: Request
  readonly results: { readonly 'make-source': string, readonly probe: { readonly width: number } }
}

interface Try {
  readonly signal: AbortSignal
  readonly idempotencyKey: string
}
