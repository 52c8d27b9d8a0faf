import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { clusterReport } from '../../lib/stores/memory/cluster.ts'

t.test('a process of its own needs no warning', (t) => {
  t.equal(clusterReport(), undefined)
  t.end()
})

t.test('a process of a cluster is warned at its start that nobody shares its jobs', async (t) => {
  const { stdout } = await promisify(execFile)(process.execPath, [fileURLToPath(new URL('fixtures/cluster.js', import.meta.url))], { timeout: 60_000 })
  const lines = stdout.trim().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>)
  t.match(lines, [{ level: 40, eventId: 10404, error_type: 'cluster-memory', msg: /^job store \(memory\) needs attention: this process belongs to a cluster.*Use redisStore\(\), or a single process$/ }])
  t.equal(lines.length, 1, 'and closing it warns of nothing')
})
