/** The five handlers as a program. Spans are printed as they end, when `SPANS=console`. */
import { ConsoleSpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import { buildHandlers } from './app.ts'

const LINES: ReadonlyArray<readonly [path: string, body: object]> = [
  ['monitored', { category: 'books' }],
  ['context', { data: 'some text' }],
  ['metrics', { data: 'some text' }],
  ['traced/r-1', { category: 'books' }],
  ['performance', { taskType: 'squares', itemCount: 100_000 }]
]

async function main (): Promise<void> {
  // Before the application is ready: it takes the provider that is registered then.
  const provider = new NodeTracerProvider({ spanProcessors: process.env['SPANS'] === 'console' ? [new SimpleSpanProcessor(new ConsoleSpanExporter())] : [] })
  provider.register()
  const app = await buildHandlers({ logger: { level: process.env['LOG_LEVEL'] ?? 'info' } })
  const leave = async (): Promise<void> => {
    await app.close()
    await provider.shutdown()
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => { void leave() })
  const url = await app.listen({ port: Number(process.env['PORT'] ?? 3_000), host: '127.0.0.1' })
  const headers = "-H 'content-type: application/json' -H 'prefer: wait=10' -H 'x-user-id: ada'"
  const lines = LINES.map(([path, body]) => `  curl -X POST ${url}/handlers/${path} ${headers} -d '${JSON.stringify(body)}'`)
  process.stdout.write(`listening on ${url}. Lines to paste:\n${[...lines, `  curl ${url}/metrics`].join('\n')}\n`)
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
})
