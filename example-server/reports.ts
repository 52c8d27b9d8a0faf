import { createHash } from 'node:crypto'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyInstance } from 'fastify'
import { Type } from 'typebox'
import { salesOf } from './sales.ts'

const Year = Type.Integer({ minimum: 1970, maximum: 9999 })

const ReportRequest = Type.Object({ year: Year, rows: Type.Integer({ minimum: 0, maximum: 10_000_000, default: 1_000 }) }, { additionalProperties: false })
const Report = Type.Object({
  year: Year,
  rows: Type.Integer(),
  totalCents: Type.Integer(),
  centsByMonth: Type.Array(Type.Integer()),
  bestProduct: Type.Union([Type.String(), Type.Null()])
})

const ExportRequest = Type.Object({ year: Year, rows: Type.Integer({ minimum: 0, maximum: 10_000, default: 1_000 }) }, { additionalProperties: false })
const Export = Type.Object({ fileName: Type.String(), mediaType: Type.String(), bytes: Type.Integer(), sha256: Type.String(), content: Type.String() })

/** The purpose of this service. An endpoint has schemas and a handler, and no code for telemetry, queues or retries. */
export function reportEndpoints (fastify: FastifyInstance): void {
  const app = fastify.withTypeProvider<TypeBoxTypeProvider>()

  app.asyncEndpoint({
    method: 'POST',
    url: '/reports',
    name: 'generate-report',
    schema: { summary: 'Sum up a year of sales', operationId: 'generateReport', tags: ['reports'], body: ReportRequest, result: Report },
    retry: { attempts: 5, backoff: { type: 'exponential', delayMs: 1_000, jitter: 0.2 } },
    timeoutMs: 600_000,
    handler: async (job) => {
      const { year, rows } = job.body
      const centsByMonth: number[] = Array.from({ length: 12 }, () => 0)
      const centsByProduct = new Map<string, number>()
      let done = 0
      await job.span('sum up sales', async () => {
        for await (const page of salesOf(year, rows, job.signal)) {
          for (const { month, product, cents } of page) {
            centsByMonth[month - 1] = (centsByMonth[month - 1] ?? 0) + cents
            centsByProduct.set(product, (centsByProduct.get(product) ?? 0) + cents)
          }
          done += page.length
          job.progress({ done, total: rows, message: 'summing up' })
        }
      })
      const [best] = [...centsByProduct].sort(([, a], [, b]) => b - a)
      job.log.info({ rows: done }, 'report is ready')
      return { year, rows: done, totalCents: centsByMonth.reduce((sum, cents) => sum + cents, 0), centsByMonth, bestProduct: best?.[0] ?? null }
    }
  })

  app.asyncEndpoint({
    method: 'POST',
    url: '/exports',
    name: 'export-sales',
    // Exports take long and are many. In a queue of their own they cannot delay the reports.
    queue: 'exports',
    maxQueued: 1_000,
    schema: { summary: 'Write the sales of a year as CSV', operationId: 'exportSales', tags: ['reports'], body: ExportRequest, result: Export },
    handler: async (job) => {
      const { year, rows } = job.body
      const lines = ['month,product,quantity,cents']
      for await (const page of salesOf(year, rows, job.signal)) {
        for (const { month, product, quantity, cents } of page) lines.push(`${month},${product},${quantity},${cents}`)
        job.progress({ done: lines.length - 1, total: rows })
      }
      const content = `${lines.join('\r\n')}\r\n`
      return {
        fileName: `sales-${year}.csv`,
        mediaType: 'text/csv',
        bytes: Buffer.byteLength(content),
        sha256: createHash('sha256').update(content).digest('hex'),
        content
      }
    }
  })
}
