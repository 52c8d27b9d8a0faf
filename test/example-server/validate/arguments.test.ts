import t from 'tap'
import { CannotRun, readArguments } from '../../../example-server/validate/arguments.ts'

t.test('defaults', async (t) => {
  t.strictSame(readArguments([]), {
    url: undefined, workers: [], prometheus: undefined, jaeger: undefined, jobs: 5, performance: false, requests: 10, maxSlow: 5, slowMs: 1_000, p95Ms: 5_000, require: [], timeoutMs: 60_000, json: false, help: false
  })
})

t.test('everything', async (t) => {
  const args = '--url http://a:1/ --worker http://b:2 --worker https://c --prometheus http://p:9090/ --jaeger http://j --jobs 2 --performance --requests 50 --max-slow 0 --slow-ms 20 --p95-ms 99 --require redis --require traces --timeout 3 --json'
  t.strictSame(readArguments(args.split(' ')), {
    url: 'http://a:1', workers: ['http://b:2', 'https://c'], prometheus: 'http://p:9090', jaeger: 'http://j', jobs: 2, performance: true, requests: 50, maxSlow: 0, slowMs: 20, p95Ms: 99, require: ['redis', 'traces'], timeoutMs: 3_000, json: true, help: false
  })
  t.equal(readArguments(['--no-prometheus']).prometheus, false)
  t.equal(readArguments(['-h']).help, true)
})

t.test('what is wrong is said, all of it at once', async (t) => {
  const wrong: ReadonlyArray<readonly [args: string, ...says: RegExp[]]> = [
    ['--foo', /--foo/],
    ['extra', /extra/],
    ['--url', /--url/],
    ['--url localhost:3000', /--url must be a URL like http:\/\/localhost:3000, not "localhost:3000"/],
    ['--prometheus file:///x --jobs 0 --timeout 1.5', /--prometheus must be/, /--jobs must be a whole number from 1 to 1000, not "0"/, /--timeout must be .*"1.5"/],
    ['--jobs ten', /--jobs .*"ten"/],
    ['--require grafana', /one of redis, prometheus, traces, not "grafana"/],
    ['--prometheus http://p --no-prometheus', /exclude each other/],
    ['--worker http://w', /--worker needs --url/],
    ['--jaeger http://j', /--jaeger needs --url/],
    ['--max-slow 3', /--max-slow needs --performance/]
  ]
  for (const [args, ...says] of wrong) {
    try {
      readArguments(args.split(' '))
      t.fail(args)
    } catch (error) {
      t.type(error, CannotRun)
      for (const text of says) t.match((error as Error).message, text, args)
    }
  }
})
