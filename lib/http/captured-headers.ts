import { withoutSig } from './hidden-sig.ts'
import type { Redaction } from '../core/redact.ts'

/** Kept with every job: a handler may need them to answer in the client's language, or to find the request in a log. */
export const DEFAULT_CAPTURED_HEADERS = ['accept-language', 'user-agent', 'x-request-id'] as const

export type DefaultCapturedHeader = typeof DEFAULT_CAPTURED_HEADERS[number]

/**
 * Headers with credentials. They would be stored as long as the job, so the registration fails if an option asks for
 * one.
 */
export const FORBIDDEN_HEADERS: ReadonlySet<string> = new Set([
  'authorization', 'cookie', 'set-cookie', 'proxy-authorization', 'proxy-authenticate', 'www-authenticate',
  'x-api-key', 'api-key', 'x-auth-token', 'x-access-token', 'x-csrf-token', 'x-xsrf-token', 'x-amz-security-token', 'x-goog-iap-jwt-assertion'
])

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
const NONE: Readonly<Record<string, string>> = Object.freeze({})

type RequestHeaders = Readonly<Record<string, string | string[] | undefined>>

/** Checks a list of header names. @returns one sentence per bad entry */
export function headerListProblems (where: string, names: readonly string[]): string[] {
  const problems: string[] = []
  for (const name of names) {
    if (typeof name !== 'string' || !TOKEN.test(name)) problems.push(`${where}: ${JSON.stringify(name)} is not a header name`)
    else if (FORBIDDEN_HEADERS.has(name.toLowerCase())) problems.push(`${where}: ${name} carries credentials and is never stored with a job`)
  }
  return problems
}

/**
 * Compiles the allow-list (the defaults and `additions`) to a function that picks those headers. A header with a
 * hidden name is stored with the mask instead of its value.
 */
export function compileCapture (
  additions: readonly string[], { hides, mask }: Pick<Redaction, 'hides' | 'mask'>
): (headers: RequestHeaders) => Readonly<Record<string, string>> {
  const names = [...new Set<string>([...DEFAULT_CAPTURED_HEADERS, ...additions.map((name) => name.toLowerCase())])]
  const hidden = names.map(hides)
  return (headers) => {
    let captured: Record<string, string> | undefined
    for (let index = 0; index < names.length; index++) {
      const name = names[index] as string
      const value = headers[name]
      if (typeof value !== 'string') continue
      // The page may have been opened by a link to a job, which must not be stored.
      const shown = name === 'referer' ? withoutSig(value) : value
      ;(captured ??= {})[name] = hidden[index] === true ? mask : shown
    }
    return captured ?? NONE
  }
}
