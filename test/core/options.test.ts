import t from 'tap'
import { OptionProblems, pathProperty, readOptions } from '../../lib/core/options.ts'

const schema = {
  type: 'object',
  additionalProperties: false,
  properties: {
    size: { type: 'integer', minimum: 1 },
    mode: { type: 'string', enum: ['a', 'b'] },
    hook: { isFunction: true },
    nested: { type: 'object', additionalProperties: false, properties: { deep: { type: 'boolean' } } }
  }
}
interface Options { size?: number, mode?: string, hook?: () => void, nested?: { deep?: boolean } }

t.test('an array is no group of options', async (t) => {
  t.throws(() => readOptions<object, object>('worker', { type: 'object', additionalProperties: false, properties: {} }, {}, []), { code: 'FAE_INVALID_OPTIONS', message: /must be an object, not an array/ })
})

t.test('defaults are filled in, the result is frozen and the given object untouched', async (t) => {
  const given: Options = { mode: 'b', size: undefined }
  const read = readOptions<Options, { size: number }>('thing', schema, { size: 3 }, given)
  t.same(read, { size: 3, mode: 'b' }, 'undefined counts as not given')
  t.ok(Object.isFrozen(read))
  t.same(given, { mode: 'b', size: undefined })
  t.same(readOptions<Options, { size: number }>('thing', schema, { size: 3 }, undefined), { size: 3 })
})

t.test('undefined inside of a group counts as not given', async (t) => {
  const groups = {
    type: 'object',
    properties: { ...schema.properties, either: { anyOf: [{ const: false }, { type: 'object', properties: { a: {}, b: {} } }] }, named: { type: 'object', additionalProperties: schema.properties.nested }, opaque: { isObject: true } }
  }
  const nested = { deep: true }
  const opaque = { a: undefined }
  const read = readOptions<Record<string, unknown>, object>('thing', groups, {}, { nested, either: { a: 1, b: undefined }, named: { x: { deep: undefined } }, opaque })
  t.strictSame(read, { nested, either: { a: 1 }, named: { x: {} }, opaque })
  t.equal(read['nested'], nested, 'what holds none is not copied')
  t.equal(read['opaque'], opaque, 'nobody looks into what the schema does not describe')
})

t.test('one message lists every bad key', async (t) => {
  const bad = { size: 0, mode: 'c', hook: 'no', nested: { deep: 1, other: 2 }, typo: true } as unknown as Options
  t.throws(() => readOptions<Options, object>('thing', schema, {}, bad), {
    code: 'FAE_INVALID_OPTIONS',
    details: {
      problems: [
        'typo is not an option (known: size, mode, hook, nested)',
        'size must be a whole number of at least 1',
        'mode must be "a" or "b"',
        'hook must be a function',
        'nested.other is not an option (known: deep)',
        'nested.deep must be true or false'
      ]
    }
  })
})

function problemsOf (schema: object, given: object): string[] {
  const found: string[] = []
  const problems = new OptionProblems()
  problems.add = (...more) => { found.push(...more) }
  problems.collect('', () => readOptions<object, object>('thing', { ...schema }, {}, given))
  return found
}

t.test('every message is a sentence that says what would be right, and none shows the value', (t) => {
  const orFalse = (other: object): object => ({ anyOf: [{ const: false }, other] })
  const inner = { type: 'object', additionalProperties: false, required: ['url'], properties: { url: { type: 'string', pattern: '^/', description: 'a path that begins with "/"' }, attempts: { type: 'integer', minimum: 1, maximum: 5 } } }
  const limits = {
    type: 'object',
    additionalProperties: false,
    required: ['needed'],
    properties: {
      needed: { type: 'string', minLength: 1 },
      slow: orFalse({ type: 'number', minimum: 1, maximum: 10 }),
      hook: { anyOf: [{ enum: ['marked', 'all'] }, { isFunction: true }] },
      inner: orFalse(inner),
      part: { anyOf: [{ type: 'boolean' }, { isObject: true }] },
      ratio: { type: 'number', exclusiveMinimum: 0, maximum: 1 },
      few: { type: 'array', minItems: 1, maxItems: 3, items: { anyOf: [{ type: 'string', minLength: 1 }, { isRegExp: true }] } },
      words: { type: 'array', uniqueItems: true, items: { type: 'string' } },
      named: { type: 'object', propertyNames: { pattern: '^[a-z]$', description: 'one letter' } },
      text: { type: 'string', minLength: 2, maxLength: 4 },
      odd: { type: 'string', pattern: '^x' },
      only: { const: 'this' }
    }
  }
  for (const [given, ...problems] of [
    [{ slow: 'hunter2' }, 'slow must be a number or false'],
    [{ slow: true }, 'slow must be a number or false'],
    [{ slow: 0 }, 'slow must be a number from 1 to 10 or false'],
    [{ hook: 'hunter2' }, 'hook must be "marked", "all" or a function'],
    [{ inner: 'hunter2' }, 'inner must be an object or false'],
    [{ inner: {} }, 'inner.url is missing'],
    [{ inner: { url: 'hunter2', attempts: 9, typo: 1 } }, 'inner.typo is not an option (known: url, attempts)', 'inner.url must be a path that begins with "/"', 'inner.attempts must be a whole number from 1 to 5'],
    [{ part: 'hunter2' }, 'part must be true, false or an object'],
    [{ ratio: 2 }, 'ratio must be a number greater than 0 and at most 1'],
    [{ ratio: NaN }, 'ratio must be a number greater than 0 and at most 1'],
    [{ few: [] }, 'few must be a list of 1 to 3 entries'],
    [{ few: ['', 7] }, 'few.0 must be a string that is not empty or a regular expression', 'few.1 must be a string or a regular expression'],
    [{ words: ['a', 'a'] }, 'words must not contain duplicates'],
    [{ named: { ab: 1 } }, 'named: the name "ab" must be one letter'],
    [{ text: 'x' }, 'text must be a string of 2 to 4 characters'],
    [{ odd: 'hunter2' }, 'odd must be a string that matches ^x'],
    [{ only: 'hunter2' }, 'only must be "this"'],
    [{ needed: undefined }, 'needed is missing']
  ] as const) {
    t.strictSame(problemsOf(limits, { needed: 'x', ...given }), problems, JSON.stringify(given))
  }
  t.end()
})

t.test('a path of a group of routes is one that requests can have', (t) => {
  const read = (path: string): unknown => readOptions('thing', { type: 'object', properties: { path: pathProperty() } }, {}, { path })
  for (const path of ['/jobs', '/a/b', '/.well-known/jobs', '/a..b', '/..a', '/...']) t.doesNotThrow(() => read(path), path)
  // Clients resolve the last four before they send a request.
  for (const path of ['', '/', 'jobs', '//jobs', '/jobs/', '/:id', '/*', '/.', '/..', '/a/../b', '/a/.']) {
    t.throws(() => read(path), { code: 'FAE_INVALID_OPTIONS' }, path)
  }
  t.end()
})
