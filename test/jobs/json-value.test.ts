import { Readable } from 'node:stream'
import t from 'tap'
import { lostInJson } from '../../lib/jobs/json-value.ts'

class Point {
  readonly x = 1
  readonly move = (): void => {}
}

t.test('what JSON says is passed', async (t) => {
  const shared = { a: 1 }
  for (const value of [undefined, null, 1, Number.NaN, 'text', true, {}, [], [[1, { a: [] }]], { a: undefined, b: () => {} }, new Date(), { at: new URL('https://a') }, new Point(), Object.create(null), [shared, shared], { toJSON: () => new Map() }]) {
    t.equal(lostInJson(value, 'body'), undefined)
  }
})

t.test('what JSON would lose is named with its place', async (t) => {
  const cases: ReadonlyArray<readonly [unknown, string]> = [
    [Buffer.from('a'), 'body is a Buffer'],
    [{ photo: Buffer.from('a') }, 'body.photo is a Buffer'],
    [{ list: [1, { map: new Map() }] }, 'body.list.1.map is a Map'],
    [new Set([1]), 'body is a Set'],
    [new Uint8Array(2), 'body is a Uint8Array'],
    [new ArrayBuffer(2), 'body is a ArrayBuffer'],
    [Readable.from([1]), 'body is a stream'],
    [new ReadableStream(), 'body is a stream'],
    [(async function * () { yield 1 })(), 'body is a AsyncGenerator'],
    [new URLSearchParams('a=1'), 'body is a URLSearchParams'],
    [new FormData(), 'body is a FormData'],
    [new Blob(['x']), 'body is a Blob'],
    [Promise.resolve(1), 'body is a Promise; await it'],
    [{ error: new TypeError('x') }, 'body.error is an Error'],
    [/x/, 'body is a RegExp'],
    [{ n: 12n }, 'body.n is a BigInt'],
    [{ 'a\nb': new Map() }, 'body.… is a Map']
  ]
  for (const [value, sentence] of cases) t.equal(lostInJson(value, 'body'), sentence)
})

t.test('values without an end are left to JSON.stringify', async (t) => {
  const circle: Record<string, unknown> = {}
  circle.self = circle
  circle.list = [circle]
  t.equal(lostInJson(circle, 'body'), undefined)
  let deep: unknown = []
  for (let level = 0; level < 100_000; level++) deep = [deep]
  t.match(lostInJson(deep, 'body'), /^body\.0.*… is nested more than 1000 deep$/)
  t.equal(lostInJson({ get a () { throw new Error('no') } }, 'body'), undefined)
})
