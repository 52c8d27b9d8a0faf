/**
 * The names that are always hidden, each written as one word. A longer name is hidden if its last words are one of
 * these: `DB_PASSWORD`, `stripeSecretKey`, `X-Refresh-Token`. A name that only begins like one is not hidden:
 * `token_count`, `author`.
 */
export const HIDDEN_NAMES: readonly string[] = [
  'authorization', 'cookie', 'cookies', 'setcookie', 'session', 'sessionid', 'sessionkey', 'connectsid', 'jsessionid', 'phpsessid', 'csrf', 'xsrf',
  'password', 'passwords', 'passwd', 'pwd', 'passphrase', 'passcode', 'passwordhash', 'passwordsalt', 'passwordconfirmation', 'userpassword', 'dbpassword',
  'secret', 'secrets', 'clientsecret', 'apisecret', 'sharedsecret', 'credential', 'credentials', 'otp', 'totp', 'onetimecode',
  'token', 'accesstoken', 'refreshtoken', 'accesstokens', 'refreshtokens', 'idtoken', 'authtoken', 'apitoken', 'bearertoken', 'sessiontoken', 'csrftoken', 'xsrftoken', 'jwt', 'bearer',
  'apikey', 'apikeys', 'xapikey', 'accesskey', 'secretkey', 'secretaccesskey', 'privatekey', 'privatekeypem', 'encryptionkey', 'signingkey', 'sharedkey', 'accountkey', 'masterkey', 'sshkey',
  'sharedaccesssignature', 'amzsignature', 'connectionstring',
  'cardnumber', 'creditcard', 'creditcardnumber', 'cardcvv', 'cardcvc', 'cvv', 'cvv2', 'cvc', 'ssn', 'socialsecuritynumber', 'passportnumber', 'iban', 'bankaccountnumber'
]

/** Names that look like a secret but are none, such as the position in a list. */
const SHOWN_NAMES: ReadonlySet<string> = new Set(['pagetoken', 'nexttoken', 'continuationtoken', 'synctoken', 'cursortoken'])

const hidden: ReadonlySet<string> = new Set(HIDDEN_NAMES)
/** `socialSecurityNumber` and `credit card number` have three words; four leave a margin. */
const MAX_WORDS = 4
const MAX_NAME = 200
/** Names repeat, so answers are cached. The cache is bounded, so that names from outside cannot fill the memory. */
const MAX_REMEMBERED = 2_000
const MAX_REMEMBERED_NAME = 64

const PATH = /[.[\]:/]+/
const CAMEL = /([a-z0-9])([A-Z])|([A-Z])([A-Z][a-z])/g
const BETWEEN_WORDS = /[^\p{L}\p{N}]+/u
const NO_WORD = /[^\p{L}\p{N}]+/gu

/** Compiles the list and the `additions` to a function that says whether the value of a name must be hidden. */
export function nameMatcher (additions: readonly string[]): (name: string) => boolean {
  const added = new Set(additions.map(flat).filter((name) => name !== ''))
  const remembered = new Map<string, boolean>()
  return (name) => {
    const known = remembered.get(name)
    if (known !== undefined) return known
    // The last words of a name decide.
    const text = String(name).slice(-MAX_NAME)
    const hides = endsHidden(text) || (added.size > 0 && isAdded(text, added))
    if (text.length <= MAX_REMEMBERED_NAME) {
      if (remembered.size >= MAX_REMEMBERED) remembered.clear()
      remembered.set(text, hides)
    }
    return hides
  }
}

function endsHidden (name: string): boolean {
  const words = name.replace(CAMEL, '$1$3 $2$4').toLowerCase().split(BETWEEN_WORDS).filter((word) => word !== '')
  // `password2`, `token_1`, `api_key_v2`: a number at the end does not matter.
  while (/^v?\d+$/.test(words.at(-1) ?? '')) words.pop()
  const last = words.at(-1)
  if (last !== undefined && !hidden.has(last)) words[words.length - 1] = last.replace(/\d+$/, '')
  let joined = ''
  for (let index = words.length - 1; index >= 0 && words.length - index <= MAX_WORDS; index--) {
    joined = `${words[index] ?? ''}${joined}`
    // An exception is shown, whatever comes before it.
    if (SHOWN_NAMES.has(joined)) return false
    if (hidden.has(joined) && !SHOWN_NAMES.has(`${words[index - 1] ?? ''}${joined}`)) return true
  }
  return false
}

/** A name that the application added matches a whole name, or the part after a dot. */
function isAdded (name: string, added: ReadonlySet<string>): boolean {
  const segments = name.split(PATH).filter((segment) => segment !== '')
  let joined = ''
  for (let index = segments.length - 1; index >= 0; index--) {
    joined = `${flat(segments[index] ?? '')}${joined}`
    if (added.has(joined)) return true
  }
  return false
}

function flat (name: string): string {
  return name.toLowerCase().replace(NO_WORD, '')
}
