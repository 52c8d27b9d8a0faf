/**
 * A strict reader of both text formats, for tests: whatever the specifications forbid throws, with the line. Written
 * from the specifications, not from our serialiser, and stricter than the parsers on npm.
 */
export interface ParsedExemplar { readonly labels: ReadonlyMap<string, string>, readonly value: number, readonly timestamp: number | undefined }
export interface ParsedSample { readonly name: string, readonly labels: ReadonlyMap<string, string>, readonly value: number, readonly exemplar: ParsedExemplar | undefined }
export interface ParsedFamily { readonly name: string, type: string, help: string | undefined, unit: string | undefined, readonly samples: ParsedSample[] }
export type Format = 'text' | 'openmetrics'

const TYPES: Record<Format, readonly string[]> = {
  text: ['counter', 'gauge', 'histogram', 'summary', 'untyped'],
  openmetrics: ['counter', 'gauge', 'histogram', 'summary', 'unknown', 'info', 'stateset', 'gaugehistogram']
}
const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*/
const LABEL_NAME = /^[a-zA-Z_][a-zA-Z0-9_]*/
const TIMESTAMP = /^-?\d+(?:\.\d+)?$/
const NUMBER = /^(?:[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|NaN|[+-]?Inf)$/

/** What the lines of a type are called after their family: two families must not come to the same. */
const SUFFIXES: Readonly<Record<string, readonly string[]>> = {
  counter: ['', '_total', '_created'],
  histogram: ['', '_bucket', '_count', '_sum', '_created'],
  gaugehistogram: ['', '_bucket', '_gcount', '_gsum'],
  summary: ['', '_count', '_sum', '_created'],
  info: ['', '_info']
}
// Go's shortest form: exponents of two digits, below 1e-4 and from 1e6 on; always a point or an exponent.
const CANONICAL_FIXED = /^-?(?:0|[1-9]\d{0,5})\.(?:0|\d*[1-9])$/
const CANONICAL_EXPONENT = /^-?[1-9](?:\.\d*[1-9])?e[+-]\d{2,3}$/

/**
 * Bytes are checked to be UTF-8.
 *
 * @throws {Error} for anything that the format does not allow
 */
export function parseExposition (page: string | Uint8Array, format: Format): Map<string, ParsedFamily> {
  return new Parser(format).parse(typeof page === 'string' ? page : new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(page))
}

class Parser {
  readonly #format: Format
  readonly #families = new Map<string, ParsedFamily>()
  readonly #series = new Set<string>()
  readonly #names = new Map<string, string>()
  #current: ParsedFamily | undefined
  #line = 0

  constructor (format: Format) {
    this.#format = format
  }

  parse (page: string): Map<string, ParsedFamily> {
    if (page === '' && this.#format === 'text') return this.#families
    if (!page.endsWith('\n')) throw new Error('the page must end with a line feed')
    if (page.includes('\r\n')) throw new Error('lines must not end with a carriage return')
    if (/[\0\p{Surrogate}]/u.test(page)) throw new Error('zero bytes and halves of characters are not allowed')
    const lines = page.slice(0, -1).split('\n')
    if (this.#format === 'openmetrics' && lines.pop() !== '# EOF') throw new Error('the last line must be # EOF')
    for (const line of lines) {
      this.#line++
      if (line.startsWith('#')) this.#comment(line)
      else if (line === '') this.#fail('an empty line')
      else this.#sample(line)
    }
    for (const family of this.#families.values()) this.#finish(family)
    return this.#families
  }

  #comment (line: string): void {
    const parts = /^# (HELP|TYPE|UNIT) (\S+)(?: (.*))?$/s.exec(line)
    if (parts === null) return this.#fail(`not a HELP, TYPE or UNIT line: ${line}`)
    const [, kind, name = '', rest = ''] = parts
    if (METRIC_NAME.exec(name)?.[0] !== name) this.#fail(`bad name ${name}`)
    const family = this.#family(name)
    if (family.samples.length > 0) this.#fail(`metadata of ${name} after its samples`)
    if (kind === 'HELP') {
      if (family.help !== undefined) this.#fail(`second HELP for ${name}`)
      if (this.#format === 'openmetrics' && /(?<!\\)(?:\\\\)*"/.test(rest)) this.#fail(`a bare quote in the HELP of ${name}`)
      family.help = this.#unescape(rest, this.#format === 'openmetrics' ? '\\n"' : '\\n')
    } else if (kind === 'TYPE') {
      if (family.type !== '') this.#fail(`second TYPE for ${name}`)
      if (!TYPES[this.#format].includes(rest)) this.#fail(`unknown type ${rest}`)
      family.type = rest
    } else {
      if (this.#format === 'text') this.#fail('UNIT is not part of the text format')
      if (family.unit !== undefined) this.#fail(`second UNIT for ${name}`)
      if (!name.endsWith(`_${rest}`)) this.#fail(`${name} does not end with its unit ${rest}`)
      family.unit = rest
    }
  }

  /** The family of a name; going back to one that was left means its lines are not in one group. */
  #family (name: string): ParsedFamily {
    if (this.#current?.name === name) return this.#current
    if (this.#families.has(name)) this.#fail(`the lines of ${name} are not in one group`)
    this.#current = { name, type: '', help: undefined, unit: undefined, samples: [] }
    this.#families.set(name, this.#current)
    return this.#current
  }

  #sample (line: string): void {
    const name = METRIC_NAME.exec(line)?.[0] ?? this.#fail('no metric name')
    let rest = line.slice(name.length)
    let labels: Map<string, string> = new Map()
    if (rest.startsWith('{')) [labels, rest] = this.#labels(rest)
    if (!rest.startsWith(' ')) this.#fail('no space before the value')
    const [values = '', exemplarText, ...more] = rest.slice(1).split(' # ')
    if (more.length > 0) this.#fail('two exemplars')
    const [value = '', timestamp, ...others] = values.split(' ')
    if (others.length > 0) this.#fail('text after the timestamp')
    if (timestamp !== undefined && !(this.#format === 'text' ? /^-?\d+$/ : TIMESTAMP).test(timestamp)) this.#fail(`bad timestamp ${timestamp}`)
    const family = this.#current ?? this.#fail('a sample before any metadata')
    this.#belongs(name, family)
    const exemplar = exemplarText === undefined ? undefined : this.#exemplar(exemplarText, name, family)
    const key = name + JSON.stringify([...labels].sort())
    if (this.#series.has(key)) this.#fail(`the series ${key} is there twice`)
    this.#series.add(key)
    family.samples.push({ name, labels, value: this.#number(value), exemplar })
  }

  #belongs (name: string, { name: family, type }: ParsedFamily): void {
    const suffixes: Record<string, readonly string[]> = {
      counter: this.#format === 'openmetrics' ? ['_total', '_created'] : [''],
      histogram: ['_bucket', '_sum', '_count'],
      info: ['_info']
    }
    if (type === '') this.#fail(`${family} has no TYPE`)
    if (!(suffixes[type] ?? ['']).some((suffix) => name === family + suffix)) this.#fail(`${name} is no sample of the ${type} ${family}`)
  }

  #labels (text: string): [Map<string, string>, string] {
    const labels = new Map<string, string>()
    let rest = text.slice(1)
    while (!rest.startsWith('}')) {
      const name = LABEL_NAME.exec(rest)?.[0] ?? this.#fail(`bad label name at ${rest.slice(0, 20)}`)
      const quoted = /^="((?:[^"\\\n]|\\.)*)"/.exec(rest.slice(name.length)) ?? this.#fail(`bad label value of ${name}`)
      if (labels.has(name)) this.#fail(`the label ${name} is there twice`)
      if (name.startsWith('_')) this.#fail(`the label ${name} is reserved`)
      labels.set(name, this.#unescape(quoted[1] ?? '', '\\n"'))
      rest = rest.slice(name.length + quoted[0].length)
      if (rest.startsWith(',') && rest[1] !== '}') rest = rest.slice(1)
      else if (!rest.startsWith('}')) this.#fail('labels are separated by commas')
    }
    return [labels, rest.slice(1)]
  }

  #exemplar (text: string, sample: string, { type }: ParsedFamily): ParsedExemplar {
    if (this.#format === 'text') this.#fail('the text format has no exemplars')
    if (!(type === 'counter' && sample.endsWith('_total')) && !(type === 'histogram' && sample.endsWith('_bucket'))) this.#fail(`an exemplar on ${sample}`)
    const [labels, rest] = this.#labels(text)
    const size = [...labels].reduce((sum, [name, value]) => sum + [...name].length + [...value].length, 0)
    if (size > 128) this.#fail(`an exemplar of ${size} characters`)
    if (!rest.startsWith(' ')) this.#fail('no space before the value of the exemplar')
    const [value = '', timestamp, ...others] = rest.slice(1).split(' ')
    if (others.length > 0) this.#fail('text after the exemplar')
    if (timestamp !== undefined && !TIMESTAMP.test(timestamp)) this.#fail(`bad timestamp ${timestamp}`)
    return { labels, value: this.#number(value), timestamp: timestamp === undefined ? undefined : this.#number(timestamp) }
  }

  #number (text: string): number {
    if (!NUMBER.test(text)) this.#fail(`not a number: ${text}`)
    return text.endsWith('Inf') ? (text.startsWith('-') ? -Infinity : Infinity) : Number(text)
  }

  #unescape (text: string, allowed: string): string {
    return text.replace(/\\(.?)/g, (_, char: string) => {
      if (char === '' || !allowed.includes(char)) this.#fail(`bad escape \\${char}`)
      return char === 'n' ? '\n' : char
    })
  }

  #finish (family: ParsedFamily): void {
    const { name: of, type, unit, samples } = family
    this.#line = 0
    if (type === '') this.#fail(`${of} has no TYPE`)
    if (samples.length === 0) this.#fail(`${of} has no samples`)
    // In the text format a counter's own name ends in `_total`.
    const base = this.#format === 'text' && type === 'counter' ? of.replace(/_total$/, '') : of
    for (const suffix of SUFFIXES[type] ?? ['']) {
      const owner = this.#names.get(base + suffix)
      if (owner !== undefined) this.#fail(`the names of ${owner} and ${of} clash`)
      this.#names.set(base + suffix, of)
    }
    if (unit !== undefined && (type === 'info' || type === 'stateset')) this.#fail(`the ${type} ${of} has a unit`)
    for (const { name, value, labels } of samples) {
      if (type === 'counter' && !(value >= 0)) this.#fail(`the counter ${name} is ${value}`)
      if (type === 'info' && value !== 1) this.#fail(`the info ${name} is ${value}`)
      if (labels.has('le') && !name.endsWith('_bucket')) this.#fail(`le on ${name}`)
    }
    if (type === 'histogram') this.#histogram(family)
  }

  #histogram ({ name, samples }: ParsedFamily): void {
    const series = new Map<string, ParsedSample[]>()
    let last = ''
    for (const sample of samples) {
      const key = JSON.stringify([...sample.labels].filter(([label]) => label !== 'le').sort())
      const group = series.get(key)
      if (group === undefined) series.set(key, [sample])
      else if (key !== last) this.#fail(`the lines of ${name}${key} are not together`)
      else group.push(sample)
      last = key
    }
    for (const [key, group] of series) this.#buckets(name, key, group)
  }

  #buckets (name: string, key: string, group: readonly ParsedSample[]): void {
    const buckets = group.filter((sample) => sample.name === `${name}_bucket`)
    const count = group.find((sample) => sample.name === `${name}_count`)?.value
    const sum = group.find((sample) => sample.name === `${name}_sum`)?.value
    let bound = -Infinity
    let before = 0
    for (const { labels, value, exemplar } of buckets) {
      const text = labels.get('le') ?? this.#fail(`a bucket of ${name} without le`)
      const le = this.#number(text)
      if (!isCanonical(text, le)) this.#fail(`le="${text}" is not written as a float the way everybody writes it`)
      if (!(le > bound)) this.#fail(`the buckets of ${name}${key} are not ascending at ${text}`)
      if (!Number.isInteger(value)) this.#fail(`${value} in a bucket of ${name}${key}`)
      if (value < before) this.#fail(`the buckets of ${name}${key} are not cumulative at ${text}`)
      if (exemplar !== undefined && !((exemplar.value > bound || bound === -Infinity) && exemplar.value <= le)) this.#fail(`the exemplar ${exemplar.value} does not belong into the bucket ${text}`)
      bound = le
      before = value
    }
    if (bound !== Infinity || (count !== undefined && before !== count)) this.#fail(`${name}${key}: the bucket +Inf must be the count`)
    if ((sum === undefined) !== (count === undefined) || (sum === undefined && this.#format === 'text')) this.#fail(`${name}${key} lacks its sum or count`)
    if (this.#format === 'text' || sum === undefined) return
    if (!(sum >= 0)) this.#fail(`the sum of ${name}${key} is ${sum}`)
    if (Number(buckets[0]?.labels.get('le')) < 0) this.#fail(`${name}${key} has buckets below zero and a sum`)
  }

  #fail (why: string): never {
    throw new Error(this.#line === 0 ? why : `line ${this.#line}: ${why}`)
  }
}

function isCanonical (text: string, bound: number): boolean {
  if (text === '+Inf') return true
  const exponent = bound !== 0 && (Math.abs(bound) < 1e-4 || Math.abs(bound) >= 1e6)
  return (exponent ? CANONICAL_EXPONENT : CANONICAL_FIXED).test(text)
}
