/**
 * Reads the text of a database query: its operation, its table, and the text with its values replaced by `?`. It reads
 * a bounded length in one pass without backtracking, since the text may come from anywhere. Where databases disagree
 * how to read a text, the rest of it is left out: a secret that was logged once cannot be taken back.
 */
export interface Statement {
  /** `select`, `insert`, … in lower case; `other` when it has an unusual name, `unknown` when there is none. */
  readonly operation: string
  /** The first table or collection; empty when none was recognized. */
  readonly target: string
  /** The text, with `?` for its values. */
  readonly text: string
}

/** Characters of a text that are read, and characters of the cleaned text that are written. */
const MAX_READ = 10_000
const MAX_WRITTEN = 600
const REST = '?…'

/** Databases in which double quotes enclose names. In all others they may enclose values. */
const QUOTES_NAMES: ReadonlySet<string> = new Set([
  'postgresql', 'cockroachdb', 'redshift', 'aws.redshift', 'oracle', 'oracle.db', 'mssql', 'microsoft.sql_server', 'db2', 'ibm.db2'
])
const BRACKETS_NAMES: ReadonlySet<string> = new Set(['mssql', 'microsoft.sql_server', 'sqlite'])
/** Databases whose queries are a command and its arguments, all of which are values. */
const COMMANDS: ReadonlySet<string> = new Set(['redis', 'valkey', 'memcached'])

const VERBS: ReadonlySet<string> = new Set([
  'select', 'insert', 'update', 'delete', 'merge', 'replace', 'upsert', 'truncate', 'copy', 'values', 'match', 'fetch', 'declare',
  'create', 'alter', 'drop', 'grant', 'revoke', 'call', 'execute', 'exec',
  'begin', 'start', 'savepoint', 'commit', 'rollback', 'release', 'lock', 'set', 'use',
  'vacuum', 'analyze', 'explain', 'show', 'describe', 'desc', 'pragma'
])
const MAIN_VERBS: ReadonlySet<string> = new Set(['select', 'insert', 'update', 'delete', 'merge', 'replace'])
const NAME = /^[a-z][a-z0-9_.\- ]{0,49}$/
const WORD = /[a-z_$\u0080-\uffff][\w$\u0080-\uffff]*/iy
const NUMBER = /\d[\w.]*/y
const DOLLAR_QUOTE = /\$(?:[a-z_]\w{0,63})?\$/iy
const PLACEHOLDER = /\$\d+/y
const KEY = /^[\w.$-]{1,64}$/
const TARGET = /\b(?:from|into|update|join|table)\s+(?:only\s+)?([\w$."`[\]\u0080-\uffff]{1,100})/i

/** @param system the database, by its OpenTelemetry name */
export function readStatement (given: string, system: string): Statement {
  const cut = given.length > MAX_READ
  const text = cut ? given.slice(0, MAX_READ) : given
  if (COMMANDS.has(system)) return readCommand(text)
  const read = new Cleaner(text, system).run()
  const clean = cut && !read.endsWith('…') ? `${read}…` : read
  const first = /^[({[\s]*([a-z_]+)/i.exec(clean)?.[1]?.toLowerCase() ?? ''
  if (first === 'with') return { operation: mainVerb(clean), target: targetOf(clean), text: clean }
  if (VERBS.has(first)) return { operation: first, target: targetOf(clean), text: clean }
  // In a document (JSON), values are in quotes or are numbers. Of any other text, only the first word is certainly not
  // a value.
  if (/^\s*[{[]/.test(clean)) return { operation: 'unknown', target: '', text: clean }
  return readCommand(text)
}

function readCommand (text: string): Statement {
  const [, word = '', rest = ''] = /^\s*([a-z][\w.]{0,31})(?=\s|$)(\s+\S)?/i.exec(text) ?? []
  if (word === '') return { operation: 'unknown', target: '', text: text.trim() === '' ? '' : REST }
  return { operation: operationName(word), target: '', text: rest === '' ? word : `${word} ?` }
}

/** The operation as a metric label: a known form, or `other`, so that strange texts do not become labels. */
export function operationName (given: string): string {
  const name = given.slice(0, 60).trim().toLowerCase()
  return name === '' ? 'unknown' : NAME.test(name) ? name : 'other'
}

/** The verb of a statement that begins with `with`: it follows the tables that `with` defines in parentheses. */
function mainVerb (clean: string): string {
  let depth = 0
  for (const [token] of clean.matchAll(/[()]|[a-z_]+/gi)) {
    if (token === '(') depth++
    else if (token === ')') depth--
    else if (depth === 0 && MAIN_VERBS.has(token.toLowerCase())) return token.toLowerCase()
  }
  return 'other'
}

function targetOf (clean: string): string {
  return (TARGET.exec(clean)?.[1] ?? '').replace(/["`[\]]/g, '')
}

/** Replaces the values in a text by `?`, from left to right. */
class Cleaner {
  readonly #text: string
  readonly #system: string
  readonly #quotesNames: boolean
  #at = 0
  #clean = ''

  constructor (text: string, system: string) {
    this.#text = text
    this.#system = system
    this.#quotesNames = QUOTES_NAMES.has(system)
  }

  run (): string {
    const { length } = this.#text
    while (this.#at < length && this.#clean.length < MAX_WRITTEN) this.#step()
    const line = this.#clean.replace(/\s+/g, ' ').replace(/\?(?:, ?\?)+/g, '?').trim()
    return this.#at < length && !line.endsWith('…') ? `${line}…` : line
  }

  #step (): void {
    const here = this.#text[this.#at] as string
    const next = this.#text[this.#at + 1]
    if (here === '\'') return this.#value(here)
    if (here === '"') return this.#quotesNames ? this.#name(here) : this.#valueOrKey()
    if (here === '`') return this.#name(here)
    if (here === '[' && BRACKETS_NAMES.has(this.#system)) return this.#name(']')
    if ((here === '-' && next === '-') || (here === '#' && !this.#quotesNames)) return this.#line()
    if (here === '/' && next === '*') return this.#comment()
    if (here === '$' && this.#dollar()) return
    const word = this.#take(WORD)
    if (word !== undefined) {
      // Oracle's q'[…]' may contain further quotes.
      const oracleQuote = this.#text[this.#at] === '\'' && /^n?q$/i.test(word)
      return oracleQuote ? this.#hideRest() : this.#write(word)
    }
    if (this.#take(NUMBER) !== undefined) return this.#write('?')
    this.#at++
    this.#write(here)
  }

  /** A value from one quote to the next; two quotes in a row stand for one quote in the value. */
  #value (quote: string): void {
    let from = this.#at + 1
    for (;;) {
      const end = this.#text.indexOf(quote, from)
      // A quote after a backslash ends the value in some databases, and is a part of it in others.
      if (end === -1 || (end > from && this.#text[end - 1] === '\\')) return this.#hideRest()
      if (this.#text[end + 1] !== quote) {
        this.#at = end + 1
        return this.#write('?')
      }
      from = end + 2
    }
  }

  #valueOrKey (): void {
    const end = this.#text.indexOf('"', this.#at + 1)
    const inside = this.#text.slice(this.#at + 1, end)
    if (end !== -1 && KEY.test(inside) && /^\s*:(?!:)/.test(this.#text.slice(end + 1, end + 20))) {
      this.#at = end + 1
      return this.#write(`"${inside}"`)
    }
    this.#value('"')
  }

  #name (close: string): void {
    const end = this.#text.indexOf(close, this.#at + 1)
    if (end === -1) return this.#hideRest()
    this.#write(this.#text.slice(this.#at, end + 1))
    this.#at = end + 1
  }

  #line (): void {
    const end = this.#text.indexOf('\n', this.#at)
    this.#at = end === -1 ? this.#text.length : end
    this.#write(' ')
  }

  /**
   * Comments may be nested. In a database where they may not, more is taken for a comment than is one, so no value is
   * shown.
   */
  #comment (): void {
    let depth = 0
    do {
      const open = this.#text.indexOf('/*', this.#at)
      const close = this.#text.indexOf('*/', this.#at)
      if (open !== -1 && open < close) {
        depth++
        this.#at = open + 2
      } else if (close !== -1) {
        depth--
        this.#at = close + 2
      } else return this.#hideRest()
    } while (depth > 0)
    this.#write(' ')
  }

  #dollar (): boolean {
    const placeholder = this.#take(PLACEHOLDER)
    if (placeholder !== undefined) {
      this.#write(placeholder)
      return true
    }
    const tag = this.#take(DOLLAR_QUOTE)
    if (tag === undefined) return false
    const end = this.#text.indexOf(tag, this.#at)
    if (end === -1) this.#hideRest()
    else {
      this.#at = end + tag.length
      this.#write('?')
    }
    return true
  }

  #take (pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at
    const found = pattern.exec(this.#text)?.[0]
    if (found !== undefined) this.#at += found.length
    return found
  }

  #write (text: string): void { this.#clean += text }

  #hideRest (): void {
    this.#at = this.#text.length
    this.#write(REST)
  }
}
