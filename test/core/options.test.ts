import t from 'tap'
import { readOptions } from '../../lib/core/options.ts'

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

t.test('defaults are filled in, the result is frozen and the given object untouched', async (t) => {
  const given: Options = { mode: 'b', size: undefined }
  const read = readOptions<Options, { size: number }>('thing', schema, { size: 3 }, given)
  t.same(read, { size: 3, mode: 'b' }, 'undefined counts as not given')
  t.ok(Object.isFrozen(read))
  t.same(given, { mode: 'b', size: undefined })
  t.same(readOptions<Options, { size: number }>('thing', schema, { size: 3 }, undefined), { size: 3 })
})

t.test('one message lists every bad key', async (t) => {
  const bad = { size: 0, mode: 'c', hook: 'no', nested: { deep: 1, other: 2 }, typo: true } as unknown as Options
  t.throws(() => readOptions<Options, object>('thing', schema, {}, bad), {
    code: 'FAE_INVALID_OPTIONS',
    details: {
      problems: [
        'typo is not an option',
        'size must be >= 1',
        'mode must be equal to one of the allowed values (a, b)',
        'hook must be a function',
        'nested.other is not an option',
        'nested.deep must be boolean'
      ]
    }
  })
})
