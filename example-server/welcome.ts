import type { Settings } from './settings.ts'

/** The text that the server prints when it listens. Every command after a label can be pasted into a shell as it is. */
export function welcome ({ role, redisUrl }: Pick<Settings, 'role' | 'redisUrl'>, url: string): string {
  const lines: Array<readonly [label: string, command: string]> = [
    ...(role === 'worker' ? [] : submissions(url)),
    ['metrics', `curl ${url}/metrics`],
    ['what limits it', `curl ${url}/metrics/bottlenecks`],
    ['every check', `curl ${url}/health`],
    ['ready', `curl ${url}/health/ready`],
    ['alive', `curl ${url}/health/live`]
  ]
  const heading = `listening on ${url} (role ${role}, jobs in ${redisUrl === undefined ? 'memory' : 'Redis'}). Lines to paste:`
  return [heading, ...lines.map(([label, command]) => `  ${label.padEnd(17)}${command}`), ''].join('\n')
}

function submissions (url: string): Array<readonly [label: string, command: string]> {
  const post = (path: string, body: object): string => `-X POST ${url}${path} -H 'content-type: application/json' -d '${JSON.stringify(body)}'`
  const zip = { files: [{ name: 'a.txt', text: 'hello' }] }
  const approval = `-H 'content-type: application/json' -d '${JSON.stringify({ approved: true, by: 'ada' })}'`
  const report = post('/reports', { year: 2026, rows: 1_000 })
  // Takes the job's path from the response, so that the command works without filling in an id.
  const thenAsk = (options: string, path = ''): string => `| sed 's/.*"self":"\\([^"]*\\)".*/\\1/' | xargs -I@ curl -i ${options} ${url}@${path}`
  return [
    ['submit a job', `curl -i ${report}`],
    ['wait for it', `curl -i ${report} -H 'prefer: wait=10'`],
    ['its status', `curl -s ${report} ${thenAsk("-H 'prefer: wait=10'")}`],
    ['cancel a job', `curl -s ${post('/demo/sleep', { ms: 600_000 })} ${thenAsk('-X DELETE')}`],
    ['see a retry', `curl -i ${post('/demo/sleep', { ms: 50, failTimes: 1 })} -H 'prefer: wait=10'`],
    ['another queue', `curl -i ${post('/exports', { year: 2025, rows: 3 })} -H 'prefer: wait=10'`],
    ['a saga', `curl -i ${post('/zips', zip)} -H 'prefer: wait=10'`],
    ['undo a saga', `curl -i ${post('/zips', { ...zip, failAt: 'notify' })} -H 'prefer: wait=10'`],
    ['approve a text', `curl -s ${post('/publications', { title: 'Hello', text: 'World' })} ${thenAsk(`-X POST ${approval} -H 'prefer: wait=10'`, '/signals/approval')}`],
    ['OpenAPI', `curl ${url}/documentation/json`]
  ]
}
