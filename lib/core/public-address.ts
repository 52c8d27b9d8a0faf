/**
 * Whether a URL, and the addresses that its host resolves to, are public. A URL that a client has chosen must not reach
 * what only this process can reach: services on this machine and network, and the metadata service of a cloud.
 */
import { lookup as dnsLookup, type LookupAddress, type LookupOptions } from 'node:dns'
import { isIP, type LookupFunction } from 'node:net'
import ipaddr from 'ipaddr.js'
import { AsyncEndpointsError } from './errors.ts'
import { operatorPolicy, type AddressRange, type ResolvedOutboundPolicy } from './outbound-policy.ts'

/** Why a URL is refused; `details.reason` of `FAE_URL_REFUSED`. */
export const URL_REFUSALS = {
  'too-long': 'it is longer than 2,048 characters',
  characters: 'it holds a space, a backslash or an invisible character',
  malformed: 'it is not an absolute URL',
  'not-https': 'it is not an https URL',
  'user-info': 'it holds a user or a password',
  port: 'its port is not allowed',
  'ip-literal': 'its host is an IP address',
  host: 'its host is not a public host name',
  unresolvable: 'its host name cannot be resolved',
  'not-public': 'its host has an address that is not public'
} as const

/** A reason of {@link URL_REFUSALS}. */
export type UrlRefusal = keyof typeof URL_REFUSALS

/** Resolves a host name to all its addresses. */
export type ResolveHost = (
  hostname: string, callback: (error: NodeJS.ErrnoException | null, addresses: readonly LookupAddress[]) => void
) => void

const MAX_URL_LENGTH = 2_048
/** More is not what an honest name server answers. */
const MAX_ADDRESSES = 64
/** Spaces, control characters, those that nobody sees (a soft hyphen, a zero-width space), and the backslash. */
const UNSAFE_CHARACTER = /[\p{Cc}\p{Cf}\p{Z}\\]/u
/** Only this form: `URL` also reads `https:host` and `https:///host`, which other parsers read in another way. */
const ABSOLUTE = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/([^/?#]+)/
const HOST_NAME = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$/
/** Suffixes that name nothing public: RFC 6761, 6762, 7686, 8375, and names that private networks use. */
const PRIVATE_SUFFIX = /(^|\.)(localhost|localdomain|local|internal|intranet|private|corp|home|lan|arpa|onion)$/
/** Names by which a machine in a cloud finds its metadata service, besides those that end in `.internal`. */
const METADATA_HOST = new RegExp(`^(${[
  'metadata', 'metadata\\.goog', '(.*\\.)?metadata\\.google\\.internal',
  'instance-data', 'instance-data\\.ec2\\.internal', 'metadata\\.azure\\.(com|internal)',
  'metadata\\.tencentyun\\.com', 'metadata\\.platformequinix\\.com', 'metadata\\.packet\\.net',
  'rancher-metadata', '(.*\\.)?kubernetes\\.default(\\.svc(\\.cluster\\.local)?)?'
].join('|')})$`)

function urlRefused (reason: UrlRefusal, cause?: unknown): AsyncEndpointsError {
  // Without the URL: it may hold secrets, and the message goes to clients and into logs.
  const message = `The URL is refused: ${URL_REFUSALS[reason]}`
  return new AsyncEndpointsError('FAE_URL_REFUSED', message, { details: { reason }, cause })
}

/** The reason of an error of this file; `undefined` for any other error. */
export function refusalOf (error: unknown): UrlRefusal | undefined {
  if (!(error instanceof AsyncEndpointsError) || error.code !== 'FAE_URL_REFUSED') return undefined
  return error.details?.['reason'] as UrlRefusal | undefined
}

/**
 * Checks everything about a URL that can be checked without the network. Its addresses are checked when it is called.
 *
 * @returns the URL as it must be called: without the dot at the end of its host, and without its fragment
 * @throws {AsyncEndpointsError} `FAE_URL_REFUSED` with `details.reason`
 */
export function assertPublicUrl (text: string, policy: ResolvedOutboundPolicy): URL {
  if (text.length > MAX_URL_LENGTH) throw urlRefused('too-long')
  // `URL` removes tabs and line breaks, and takes a backslash for a slash. Others read such a text in another way.
  if (UNSAFE_CHARACTER.test(text)) throw urlRefused('characters')
  const [, , authority = ''] = ABSOLUTE.exec(text) ?? []
  if (authority === '' || !URL.canParse(text)) throw urlRefused('malformed')
  const url = new URL(text)
  if (url.protocol !== 'https:' && !(policy.allowHttp && url.protocol === 'http:')) throw urlRefused('not-https')
  if (url.username !== '' || url.password !== '' || authority.includes('@')) throw urlRefused('user-info')
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port)
  if (port === 0 || policy.ports?.has(port) === false) throw urlRefused('port')
  url.hostname = url.hostname.replace(/\.$/, '')
  url.hash = ''
  checkHost(url.hostname, policy)
  return url
}

function checkHost (hostname: string, policy: ResolvedOutboundPolicy): void {
  const privately = policy.allowed.length > 0
  const literal = hostname.replace(/^\[|\]$/g, '')
  if (isIP(literal) !== 0) {
    // No lookup is made for these, so that the address must be checked here.
    if (!privately) throw urlRefused('ip-literal')
    if (!isAddressAllowed(literal, policy)) throw urlRefused('not-public')
    return
  }
  if (!HOST_NAME.test(hostname) || METADATA_HOST.test(hostname)) throw urlRefused('host')
  if (!privately && (!hostname.includes('.') || PRIVATE_SUFFIX.test(hostname))) throw urlRefused('host')
}

/** Only these prefixes of IPv6 are given out as public addresses. */
const GLOBAL_UNICAST = ipaddr.parseCIDR('2000::/3')
/** Public by `ipaddr.js`, and part of an IPv6 block that is not (IANA, special-purpose addresses). */
const SPECIAL = ['2001::/23', '2002::/16', '2001:db8::/32', '3fff::/20'].map((range) => ipaddr.parseCIDR(range))

/**
 * Whether a connection may be made to an address.
 *
 * @param address as DNS or a socket gave it
 */
export function isAddressAllowed (address: string, { allowed, denied }: ResolvedOutboundPolicy): boolean {
  // `ipaddr.js` reads more forms than there are addresses, such as `0x7f.1`, and an address with a zone is link-local.
  if (isIP(address) === 0 || address.includes('%')) return false
  const read = ipaddr.process(address)
  if (isWithin(read, denied)) return false
  return isWithin(read, allowed) || isPublic(read)
}

function isPublic (address: ipaddr.IPv4 | ipaddr.IPv6): boolean {
  if (address.range() !== 'unicast') return false
  if (address instanceof ipaddr.IPv4) return true
  if (!isWithin(address, [GLOBAL_UNICAST]) || isWithin(address, SPECIAL)) return false
  // ISATAP (RFC 5214 §6.1): the IPv4 address to which a router would tunnel follows.
  const [, , , , mark = 0, organisation] = address.parts
  return !((mark & ~0x0200) === 0 && organisation === 0x5efe)
}

function isWithin (address: ipaddr.IPv4 | ipaddr.IPv6, ranges: readonly AddressRange[]): boolean {
  return ranges.some(([range, bits]) => range.kind() === address.kind() && address.match(range, bits))
}

const systemResolve: ResolveHost = (hostname, callback) => {
  dnsLookup(hostname, { all: true, verbatim: true }, callback)
}

/**
 * A `lookup` for `net.connect`, `http.request` and `https.request`. It resolves a name once, requires every address to
 * be allowed, and answers with exactly these addresses, so that no later answer of a name server can take their place
 * (DNS rebinding). It is not called for IP addresses: {@link assertPublicUrl} refuses those.
 *
 * Its error is `FAE_URL_REFUSED`, with the reason `unresolvable` or `not-public`.
 */
export function checkedLookup (policy: ResolvedOutboundPolicy, resolve: ResolveHost = systemResolve): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, (error, addresses) => {
      if (error !== null || addresses.length === 0) return callback(urlRefused('unresolvable', error ?? undefined), [])
      const allAllowed = addresses.every(({ address }) => isAddressAllowed(address, policy))
      if (!allAllowed || addresses.length > MAX_ADDRESSES) return callback(urlRefused('not-public'), [])
      const wanted = ofFamily(addresses, options)
      const [first] = wanted
      if (first === undefined) return callback(urlRefused('unresolvable'), [])
      if (options.all === true) callback(null, wanted)
      else callback(null, first.address, first.family)
    })
  }
}

function ofFamily (addresses: readonly LookupAddress[], { family }: LookupOptions): LookupAddress[] {
  const wanted = family === 'IPv4' ? 4 : family === 'IPv6' ? 6 : family ?? 0
  // The family as the address has it: the connection is made by it.
  const read = addresses.map(({ address }) => ({ address, family: isIP(address) }))
  return read.filter(({ family }) => wanted === 0 || family === wanted)
}

/**
 * Checks where a connection has gone.
 *
 * @throws {AsyncEndpointsError} `FAE_URL_REFUSED`, with the reason `not-public`
 */
export function assertPublicPeer (remoteAddress: string | undefined, policy: ResolvedOutboundPolicy): void {
  if (remoteAddress === undefined || !isAddressAllowed(remoteAddress, policy)) throw urlRefused('not-public')
}

/**
 * What is wrong with a URL that the operator has chosen. The sentence names the option that helps, if one does.
 *
 * @param url without credentials
 * @returns a sentence that fits behind the name of the option, without the URL; `undefined` if nothing is wrong
 */
export function operatorUrlProblem (url: URL, allowPrivate: boolean | readonly string[]): string | undefined {
  const reason = refusalBy(url, allowPrivate)
  if (reason === undefined) return undefined
  if (refusalBy(url, true) !== undefined && allowPrivate !== false) return URL_REFUSALS[reason]
  return `${URL_REFUSALS[reason]}; if the receiver is in a private network, set allowPrivate to true, or to its ranges`
}

function refusalBy (url: URL, allowPrivate: boolean | readonly string[]): UrlRefusal | undefined {
  try {
    assertPublicUrl(url.href, operatorPolicy(allowPrivate))
    return undefined
  } catch (error) {
    return refusalOf(error)
  }
}
