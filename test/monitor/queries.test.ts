import t from 'tap'
import { monitored, span, SPAN, TRACE } from './support.ts'

const DURATION = 'asyncendpoints.database.query.duration'

/** Started, with the processor as the SDK would have it. */
async function watching (test: Pick<typeof t, 'teardown'>, options = {}) {
  const parts = monitored(options)
  test.teardown(() => parts.monitor.stop(0))
  await parts.monitor.start()
  return { ...parts, processor: parts.monitor.spanProcessor() }
}

t.test('slow queries of stable and older conventions, without their values', async (t) => {
  const { processor, told, points } = await watching(t, { slowQueryMs: 500 })
  processor.onEnd(span({ 'db.system.name': 'postgresql', 'db.query.text': 'SELECT * FROM orders WHERE mail = \'bob@example.com\'' }, 1_500))
  processor.onEnd(span({ 'db.system': 'mysql', 'db.statement': 'UPDATE users SET password = "hunter2" WHERE id = 7', 'db.sql.table': 'users', 'db.operation': 'UPDATE' }, 600))
  processor.onEnd(span({ 'db.system.name': 'mongodb', 'db.operation.name': 'find', 'db.collection.name': 'carts' }, 700))
  processor.onEnd(span({ 'db.system': 'redis', 'db.statement': 'set user:bob hunter2' }, 501))
  processor.onEnd(span({ 'db.system': 'postgresql', 'db.statement': 'SELECT 1' }, 500))
  const ids = { thresholdMs: 500, traceId: TRACE, spanId: SPAN }
  t.same(told('performance.slow_query'), [
    { ...ids, system: 'postgresql', operation: 'select', target: 'orders', statement: 'SELECT * FROM orders WHERE mail = ?', durationMs: 1_500 },
    { ...ids, system: 'mysql', operation: 'update', target: 'users', statement: 'UPDATE users SET password = ? WHERE id = ?', durationMs: 600 },
    { ...ids, system: 'mongodb', operation: 'find', target: 'carts', statement: '', durationMs: 700 },
    { ...ids, system: 'redis', operation: 'set', target: '', statement: 'set ?', durationMs: 501 }
  ])
  t.same(points(DURATION).map(({ labels, count }) => [labels.db_system_name, labels.db_operation_name, labels.db_collection_name, count]), [
    ['postgresql', 'select', 'orders', 1], ['mysql', 'update', 'users', 1], ['mongodb', 'find', 'carts', 1], ['redis', 'set', '', 1], ['postgresql', 'select', '', 1]
  ])
})

t.test('a long statement is cut, and bound values never come near', async (t) => {
  const { processor, told } = await watching(t)
  processor.onEnd(span({
    'db.system.name': 'postgresql', 'db.query.text': `SELECT ${Array.from({ length: 400 }, (_, n) => `column_${n}`).join(', ')} FROM t`, 'db.query.parameter.0': 'hunter2', 'db.query.parameters': ['hunter2']
  }))
  const [event] = told('performance.slow_query') as Array<{ statement: string }>
  t.equal(event?.statement.length, 500)
  t.match(event?.statement, /^SELECT column_0, .*…$/)
  t.notMatch(JSON.stringify(told('performance.slow_query')), /hunter2/)
})

t.test('what is no query is not measured', async (t) => {
  const { processor, told, points } = await watching(t, { slowQueryMs: 0 })
  const none: ReadonlyArray<Record<string, unknown>> = [
    {}, { 'http.route': '/x' }, { 'db.system': 7 }, { 'db.system': 'postgresql' },
    { 'db.system': 'mysql', 'db.statement': 'SHOW TABLES' }, { 'db.system': 'mysql', 'db.statement': 'describe users' }, { 'db.system': 'postgresql', 'db.statement': '/* x */ EXPLAIN ANALYZE SELECT 1' },
    { 'db.system': 'postgresql', 'db.statement': 'SELECT * FROM information_schema.tables' }, { 'db.system': 'postgresql', 'db.statement': 'select 1 from "pg_catalog"."pg_type"' },
    { 'db.system': 'postgresql', 'db.operation.name': 'SCHEMA' }, { 'db.system': 'redis', 'db.statement': 'connect' }
  ]
  for (const attributes of none) processor.onEnd(span(attributes))
  t.same(told('performance.slow_query'), [])
  t.same(points(DURATION), [])
})

t.test('nothing from outside becomes a long or an odd label', async (t) => {
  const { processor, points } = await watching(t)
  processor.onEnd(span({ 'db.system': `Odd\n${'x'.repeat(500)}`, 'db.operation': 'SELECT \u0000 1; DROP', 'db.collection.name': 'y'.repeat(500) }))
  const [labels] = points(DURATION).map((point) => point.labels)
  t.match(labels, { db_system_name: /^odd x+…$/, db_operation_name: 'other', db_collection_name: /^y+…$/ })
  for (const value of Object.values(labels ?? {})) t.ok(value.length <= 100)
  for (let n = 0; n < 2_000; n++) processor.onEnd(span({ 'db.system': 'x', 'db.statement': `select ${n} from t${n}` }, 1))
  t.ok(points(DURATION).length <= 501, 'capped')
})

t.test('it cannot throw into the tracing of an application', async (t) => {
  const { processor, told, warnings } = await watching(t)
  const broken: unknown[] = [{}, { attributes: null }, { get attributes () { throw new Error('no') } }, { attributes: { 'db.system': 'x', 'db.statement': 'select 1' } }]
  for (const odd of broken) processor.onEnd(odd as never)
  t.equal(told('telemetry.listener_failed').length, 4)
  t.match(told('telemetry.listener_failed')[0], { source: 'performance.slow-queries' })
  t.equal(warnings.filter((message) => /could not be read/.test(message)).length, 1, 'said once')
  await processor.forceFlush()
  await processor.shutdown()
})

t.test('who takes the processor is watched in no other way', async (t) => {
  const { monitor, world, points } = monitored()
  await monitor.start()
  t.equal(world.watched, 1)
  const processor = monitor.spanProcessor()
  t.equal(world.watched, 0, 'a span would be seen twice')
  processor.onEnd(span({ 'db.system': 'x', 'db.statement': 'select 1' }))
  await monitor.stop(0)
  processor.onEnd(span({ 'db.system': 'x', 'db.statement': 'select 1' }))
  t.equal(points(DURATION)[0]?.count, 1, 'deaf after the stop')
  const early = monitored()
  early.monitor.spanProcessor()
  await early.monitor.start()
  t.equal(early.world.watched, 0)
  await early.monitor.stop(0)
})

t.test('a provider that cannot be watched is told once', async (t) => {
  const { monitor, warnings } = monitored({}, { watchSpans: () => ({ missed: true, stop: () => {} }) })
  await monitor.start()
  t.same(warnings.map((message) => /spanProcessor\(\)/.test(message)), [true])
  await monitor.stop(0)
})
