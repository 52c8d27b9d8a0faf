/**
 * Finds credentials in text. Uses loops that look at each character once instead of regular expressions over text
 * from outside, so that a message of a megabyte costs milliseconds, whatever is in it.
 */
type Hides = (name: string) => boolean

const ANY_SCHEME = /\b(?:bearer|basic)[ \t]/i
const SCHEME = /\b(bearer|basic)[ \t]+/gi
/** Words that follow `bearer` or `basic` in ordinary sentences. */
const ORDINARY = /^(?:token|tokens|auth|authentication|authorization|scheme|header|credentials|realm|of|is|was|and|or|in|must|missing|required)[.:!?]?$/i
/** A token after `Basic` is base64: letters of both cases, digits, padding. */
const BASE64 = /[0-9+=]|[a-z].*[A-Z]|[A-Z][A-Z].*[a-z]/
/** The signature of a link to a job: a client that has it may do what the link allows. Made by `LinkSigner`. */
const LINK_SIGNATURE = /[\w-]{1,32}\.\d{1,12}\.(?:read|cancel)\.[\w-]{43}/g
const KEY_BEGIN = '-----BEGIN '
const MAX_NAME = 64
const MAX_TOKEN_LOOKED_AT = 200
/** Names of several words end in one of these: `API key: …`, `connection string: …`. */
const NAME_GOES_ON = /^(?:keys?|string|number|id|card|code|signature|hash)$/i
/** The values of these names go to the end of the line. */
const WHOLE_LINE = /(?:authorization|cookies?)$/i

const TAB = 9
const SPACE = 32
const COLON = 58
const EQUALS = 61
const BACKSLASH = 92

/** @returns a function that replaces everything that looks like a credential by the mask */
export function textRedactor (hides: Hides, mask: string): (text: string) => string {
  return (text) => {
    // JSON and UTF-8 cannot represent half a surrogate pair: a strict reader would refuse the whole document or line.
    let clean = text.toWellFormed()
    if (clean.includes(KEY_BEGIN)) clean = withoutPrivateKeys(clean, mask)
    clean = withoutLinkSignatures(clean, mask)
    if (clean.includes('://')) clean = withoutUserInfo(clean, mask)
    if (ANY_SCHEME.test(clean)) clean = withoutSchemes(clean, mask)
    if (clean.includes('=') || clean.includes(':')) clean = withoutValues(clean, hides, mask)
    return clean
  }
}

/** Replaces the signatures of links to jobs, wherever they stand. */
export function withoutLinkSignatures (text: string, mask: string): string {
  return text.includes('.read.') || text.includes('.cancel.') ? text.replace(LINK_SIGNATURE, () => mask) : text
}

/** A text in which parts are replaced by the mask, from left to right. */
class MaskedText {
  readonly #text: string
  readonly #mask: string
  #written = ''
  /** The position up to which the text is processed. */
  done = 0

  constructor (text: string, mask: string) {
    this.#text = text
    this.#mask = mask
  }

  hide (start: number, end: number): void {
    this.#written += this.#text.slice(this.done, start) + this.#mask
    this.done = end
  }

  finish (): string { return this.done === 0 ? this.#text : this.#written + this.#text.slice(this.done) }
}

function withoutPrivateKeys (text: string, mask: string): string {
  const masked = new MaskedText(text, mask)
  for (let at = text.indexOf(KEY_BEGIN); at !== -1; at = text.indexOf(KEY_BEGIN, Math.max(masked.done, at + 1))) {
    if (!text.slice(at, at + 50).includes('PRIVATE KEY')) continue
    const last = text.indexOf('-----END ', at)
    const end = last === -1 ? -1 : text.indexOf('-----', last + 9)
    masked.hide(at, end === -1 ? text.length : end + 5)
  }
  return masked.finish()
}

/** Hides everything before the `@` in `scheme://user:password@host`. */
function withoutUserInfo (text: string, mask: string): string {
  const masked = new MaskedText(text, mask)
  // Both positions only move forward, so each character is looked at once, however many URLs there are.
  let atSign = text.indexOf('@')
  let space = -1
  for (let at = text.indexOf('://'); at !== -1;) {
    const start = at + 3
    const authority = endOf(text, start, endsAuthority)
    const password = hasPassword(text, start, authority)
    let limit = authority
    // A password with an unescaped `/`, `?` or `#` makes the URL invalid, and the error message quotes it.
    if (password && atSign !== -1) limit = space = space > authority ? space : endOf(text, authority, isSpace)
    if (atSign !== -1 && atSign < start) atSign = text.indexOf('@', start)
    if (atSign !== -1 && atSign < limit) masked.hide(start, text.lastIndexOf('@', limit - 1))
    // The text was cut off in the middle of the password.
    else if (password && authority === text.length) masked.hide(start, authority)
    at = text.indexOf('://', Math.max(authority, masked.done))
  }
  return masked.finish()
}

/** Whether there is a colon that is followed by something other than a port. */
function hasPassword (text: string, start: number, end: number): boolean {
  // An IPv6 address.
  if (text[start] === '[') return false
  let index = start
  while (index < end && text.charCodeAt(index) !== COLON) index++
  for (index++; index < end; index++) {
    if (!isDigit(text.charCodeAt(index))) return true
  }
  return false
}

function withoutSchemes (text: string, mask: string): string {
  const masked = new MaskedText(text, mask)
  SCHEME.lastIndex = 0
  for (let found = SCHEME.exec(text); found !== null; found = SCHEME.exec(text)) {
    const start = SCHEME.lastIndex
    const end = endOf(text, start, endsToken)
    const token = text.slice(start, Math.min(end, start + MAX_TOKEN_LOOKED_AT))
    if (token === '' || ORDINARY.test(token) || (found[1]?.toLowerCase() === 'basic' && !BASE64.test(token))) continue
    masked.hide(start, end)
    SCHEME.lastIndex = end
  }
  return masked.finish()
}

/** Hides the values in `name=value`, `name: value` and `"name":"value"` if the name is a hidden one. */
function withoutValues (text: string, hides: Hides, mask: string): string {
  const masked = new MaskedText(text, mask)
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code !== EQUALS && code !== COLON) continue
    // `scheme://` and `scope::name` are not names with values.
    if (code === COLON && (text.startsWith('//', at + 1) || text.charCodeAt(at + 1) === COLON)) {
      at++
      continue
    }
    const name = hiddenNameBefore(text, at, masked.done, hides)
    if (name === undefined) continue
    const { start, end } = valueAfter(text, at, name)
    if (end === start) continue
    masked.hide(start, end)
    at = end - 1
  }
  return masked.finish()
}

/** The name that ends before the separator, if its value must be hidden. */
function hiddenNameBefore (text: string, separator: number, floor: number, hides: Hides): string | undefined {
  let end = separator
  while (end > floor && separator - end < 4 && isSpace(text.charCodeAt(end - 1))) end--
  const quoted = end > floor && isQuote(text.charCodeAt(end - 1))
  if (quoted) {
    end--
    while (end > floor && separator - end < 12 && text.charCodeAt(end - 1) === BACKSLASH) end--
  }
  const lowest = Math.max(floor, end - MAX_NAME)
  let start = startOfName(text, end, lowest)
  if (start === end) return undefined
  let name = text.slice(start, end)
  if (hides(name)) return name
  if (!NAME_GOES_ON.test(name)) return undefined
  for (let more = 0; more < 2 && start - 1 > lowest && text.charCodeAt(start - 1) === SPACE; more++) {
    const earlier = startOfName(text, start - 1, lowest)
    if (earlier === start - 1) return undefined
    start = earlier
    name = text.slice(start, end)
    if (hides(name)) return name
  }
  return undefined
}

function startOfName (text: string, end: number, lowest: number): number {
  let start = end
  while (start > lowest && isNameCharacter(text.charCodeAt(start - 1))) start--
  return start
}

/** The range of the value after a separator, without its quotes. Empty if there is no value. */
function valueAfter (text: string, separator: number, name: string): { start: number, end: number } {
  let start = separator + 1
  // `=>`, `:=`, `==`
  while (start < text.length && '=:>'.includes(text[start] ?? '')) start++
  while (start < text.length && isSpace(text.charCodeAt(start))) start++
  let opening = start
  while (opening < text.length && text.charCodeAt(opening) === BACKSLASH) opening++
  if (isQuote(text.charCodeAt(opening))) return { start: opening + 1, end: endOfQuoted(text, opening, opening - start) }
  if (text[start] === '{' || text[start] === '[') return { start, end: endOfBrackets(text, start) }
  if (WHOLE_LINE.test(name)) return { start, end: endOf(text, start, endsLine) }
  let end = endOf(text, start, endsValue)
  while (end > start && '.,!?)}]\'`'.includes(text[end - 1] ?? '')) end--
  // Further groups of digits, as in a card number or an IBAN.
  while (end > start && isDigit(text.charCodeAt(end - 1)) && text.charCodeAt(end) === SPACE && isDigit(text.charCodeAt(end + 1))) end = endOf(text, end + 1, (code) => !isDigit(code))
  return { start, end }
}

/** Where a quoted text ends. In JSON inside of JSON, backslashes come before the quotes. */
function endOfQuoted (text: string, opening: number, slashes: number): number {
  const quote = text.charCodeAt(opening)
  let before = 0
  for (let index = opening + 1; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (code === quote && (slashes === 0 ? before % 2 === 0 : before <= slashes)) return slashes === 0 ? index : index - before
    before = code === BACKSLASH ? before + 1 : 0
  }
  return text.length
}

/** The position after the bracket that closes the one at `start`, or the end of the text. */
function endOfBrackets (text: string, start: number): number {
  let depth = 0
  for (let index = start; index < text.length; index++) {
    const code = text.charCodeAt(index)
    if (isQuote(code)) index = endOfQuoted(text, index, 0)
    else if (code === 123 || code === 91) depth++
    else if ((code === 125 || code === 93) && --depth === 0) return index + 1
  }
  return text.length
}

function endOf (text: string, start: number, ends: (code: number) => boolean): number {
  let end = start
  while (end < text.length && !ends(text.charCodeAt(end))) end++
  return end
}

function isDigit (code: number): boolean { return code >= 48 && code <= 57 }

function isSpace (code: number): boolean { return code === SPACE || (code >= TAB && code <= 13) || code === 160 }

/** `"`, `'` and the backtick */
function isQuote (code: number): boolean { return code === 34 || code === 39 || code === 96 }

function endsLine (code: number): boolean { return code === 10 || code === 13 }

/** `/`, `?`, `#`, quotes, `<`, `>`, spaces */
function endsAuthority (code: number): boolean { return isSpace(code) || isQuote(code) || code === 47 || code === 63 || code === 35 || code === 60 || code === 62 }

/** `,`, `;`, quotes, `<`, `>`, spaces */
function endsToken (code: number): boolean { return isSpace(code) || isQuote(code) || code === 44 || code === 59 || code === 60 || code === 62 }

/**
 * `&`, `;`, `"`, `<`, `>`, spaces. A comma may be part of a password, so it does not end the value: hiding too much
 * is better than too little.
 */
function endsValue (code: number): boolean { return isSpace(code) || code === 38 || code === 59 || code === 34 || code === 60 || code === 62 }

/** Letters, digits, `_`, `-`, `.`, `$`, `[`, `]` and everything that is not ASCII */
function isNameCharacter (code: number): boolean {
  return (code >= 97 && code <= 122) || (code >= 65 && code <= 90) || isDigit(code) || code === 95 || code === 45 || code === 46 || code === 36 || code === 91 || code === 93 || (code > 127 && code !== 160)
}
