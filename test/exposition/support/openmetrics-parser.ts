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
const NUMBER = /^(?:[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|NaN|[+-]?Inf)$/

/** @throws {Error} for anything that the format does not allow */
export function parseExposition (page: string, format: Format): Map<string, ParsedFamily> {
  return new Parser(format).parse(page)
}

class Parser {
  readonly #format: Format
  readonly #families = new Map<string, ParsedFamily>()
  readonly #series = new Set<string>()
  #current: ParsedFamily | undefined
  #line = 0

  constructor (format: Format) {
    this.#format = format
  }

  parse (page: string): Map<string, ParsedFamily> {
    if (!page.endsWith('\n')) throw new Error('the page must end with a line feed')
    if (page.includes('\r')) throw new Error('carriage returns are not allowed')
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
    const parts = /^# (HELP|TYPE|UNIT) (\S+)(?: (.*))?$/.exec(line)
    if (parts === null) return this.#fail(`not a HELP, TYPE or UNIT line: ${line}`)
    const [, kind, name = '', rest = ''] = parts
    if (METRIC_NAME.exec(name)?.[0] !== name) this.#fail(`bad name ${name}`)
    const family = this.#family(name)
    if (family.samples.length > 0) this.#fail(`metadata of ${name} after its samples`)
    if (kind === 'HELP') {
      if (family.help !== undefined) this.#fail(`second HELP for ${name}`)
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
    if (timestamp !== undefined && !NUMBER.test(timestamp)) this.#fail(`bad timestamp ${timestamp}`)
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
      labels.set(name, this.#unescape(quoted[1] ?? '', '\\n"'))
      rest = rest.slice(name.length + quoted[0].length)
      if (rest.startsWith(',')) rest = rest.slice(1)
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
    const [value = '', timestamp, ...others] = rest.slice(1).split(' ')
    if (others.length > 0) this.#fail('text after the exemplar')
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
    this.#line = 0
    if (family.type === '') this.#fail(`${family.name} has no TYPE`)
    if (family.samples.length === 0) this.#fail(`${family.name} has no samples`)
    for (const { name, value } of family.samples) {
      if (family.type === 'counter' && !(value >= 0)) this.#fail(`the counter ${name} is ${value}`)
    }
    if (family.type === 'histogram') this.#histogram(family)
  }

  #histogram ({ name, samples }: ParsedFamily): void {
    const series = new Map<string, ParsedSample[]>()
    for (const sample of samples) {
      const key = JSON.stringify([...sample.labels].filter(([label]) => label !== 'le').sort())
      const group = series.get(key)
      if (group === undefined) series.set(key, [sample])
      else group.push(sample)
    }
    for (const [key, group] of series) {
      const buckets = group.filter((sample) => sample.name === `${name}_bucket`)
      const count = group.find((sample) => sample.name === `${name}_count`)?.value
      if (count === undefined || !group.some((sample) => sample.name === `${name}_sum`)) this.#fail(`${name}${key} lacks its sum or count`)
      let bound = -Infinity
      let before = 0
      for (const { labels, value, exemplar } of buckets) {
        const text = labels.get('le') ?? this.#fail(`a bucket of ${name} without le`)
        const le = this.#number(text)
        if (Number.isFinite(le) && !/[.e]/.test(text)) this.#fail(`le="${text}" is not written as a float`)
        if (!(le > bound)) this.#fail(`the buckets of ${name}${key} are not ascending at ${text}`)
        if (value < before) this.#fail(`the buckets of ${name}${key} are not cumulative at ${text}`)
        if (exemplar !== undefined && !(exemplar.value > bound && exemplar.value <= le)) this.#fail(`the exemplar ${exemplar.value} does not belong into the bucket ${text}`)
        bound = le
        before = value
      }
      if (bound !== Infinity || before !== count) this.#fail(`${name}${key}: the bucket +Inf must be the count`)
    }
  }

  #fail (why: string): never {
    throw new Error(this.#line === 0 ? why : `line ${this.#line}: ${why}`)
  }
}
