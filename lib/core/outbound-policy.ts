/** Where requests that leave this process may go: the options, and what they mean. */
import type { Agent } from 'node:http'
import { isIP } from 'node:net'
import ipaddr from 'ipaddr.js'
import { invalidOptions, readOptions, type OptionsSchema } from './options.ts'

/**
 * Which URLs may be called. Without any option: `https:` on port 443 or 8443, at a host name whose addresses are all
 * public. Meant against server-side request forgery (OWASP API7:2023).
 */
export interface OutboundPolicy {
  /**
   * Allows `http:` too, by default on ports 80 and 8080. What is sent can then be read on its way.
   *
   * @defaultValue false
   */
  allowHttp?: boolean | undefined
  /**
   * Allows receivers in private networks, and with them IP addresses in URLs and host names without a dot.
   *
   * - `false`: public addresses only.
   * - `true`: also loopback, 10/8, 172.16/12, 192.168/16, 100.64/10 and fc00::/7.
   * - A list of ranges, such as `['10.20.0.0/16']`: also these, and no other. The safest that works.
   *
   * The addresses at which clouds hand out credentials (169.254.169.254 and others) are refused in any case.
   *
   * @defaultValue false
   */
  allowPrivate?: boolean | readonly string[] | undefined
  /** The ports that a URL may have; `'any'` for all. @defaultValue [443, 8443], with `allowHttp` also 80 and 8080 */
  ports?: readonly number[] | 'any' | undefined
  /**
   * Ranges that are refused although they are public, such as your own: `['198.51.100.0/24']`. If your network
   * translates IPv6 to IPv4 (NAT64) under a prefix of its own, that prefix belongs here too.
   *
   * @defaultValue []
   */
  deny?: readonly string[] | undefined
  /**
   * Makes the connections, for example through an egress proxy. Then only URLs are checked: the agent, or the proxy,
   * resolves the names, and must itself refuse addresses that are not public.
   *
   * @defaultValue connections of the library's own, each checked
   */
  agent?: Agent | undefined
}

/** A range of addresses, as `ipaddr.js` reads it. */
export type AddressRange = [ipaddr.IPv4 | ipaddr.IPv6, number]

/** An {@link OutboundPolicy}, read and complete. */
export interface ResolvedOutboundPolicy {
  readonly allowHttp: boolean
  /** Ranges that are allowed although they are not public. */
  readonly allowed: readonly AddressRange[]
  /** `undefined`: any. */
  readonly ports: ReadonlySet<number> | undefined
  /** Also holds what is always refused. */
  readonly denied: readonly AddressRange[]
  readonly agent: Agent | undefined
}

const port = { type: 'integer', minimum: 1, maximum: 65_535 }
const ranges = { type: 'array', maxItems: 1_000, items: { type: 'string', maxLength: 50 } }

/** The schema of the option `allowPrivate`, the same in every group of options that has it. */
export const ALLOW_PRIVATE_SCHEMA: OptionsSchema = {
  anyOf: [{ type: 'boolean' }, ranges],
  description: 'true, false or a list of ranges such as "10.0.0.0/8"'
}

/** The members of {@link OutboundPolicy}, for the `properties` of a schema of options. */
export const OUTBOUND_PROPERTIES: OptionsSchema = {
  allowHttp: { type: 'boolean' },
  allowPrivate: ALLOW_PRIVATE_SCHEMA,
  ports: {
    anyOf: [{ const: 'any' }, { type: 'array', minItems: 1, maxItems: 1_000, items: port }],
    description: '"any" or a list of ports from 1 to 65535'
  },
  deny: ranges,
  agent: { isObject: true }
}

const policySchema: OptionsSchema = { type: 'object', additionalProperties: false, properties: OUTBOUND_PROPERTIES }

const HTTPS_PORTS = [443, 8443]
const HTTP_PORTS = [80, 8080]

/** What `allowPrivate: true` opens. */
const PRIVATE = [
  '127.0.0.0/8', '10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', '::1/128', 'fc00::/7'
].map(parsed)

/** Where clouds hand out credentials and configuration to whatever runs on a machine. */
const METADATA = [
  '169.254.169.254/32', // most clouds
  '169.254.170.2/32', '169.254.170.23/32', 'fd00:ec2::/32', // AWS, ECS and EKS
  '168.63.129.16/32', // Azure: public by its range
  '100.100.100.200/32', // Alibaba
  '192.0.0.192/32', 'fd00:c1::a9fe:a9fe/128', // Oracle
  'fd20:ce::254/128', // Google
  'fd00:42::42/128' // Scaleway
].map(parsed)

/**
 * @param where the group of options, for the message
 * @throws {AsyncEndpointsError} `FAE_INVALID_OPTIONS`
 */
export function readOutboundPolicy (where: string, given: OutboundPolicy | undefined): ResolvedOutboundPolicy {
  const { allowHttp = false, allowPrivate = false, deny = [], ...rest } = readOptions(where, policySchema, {}, given)
  const problems = [...rangeProblems('allowPrivate', allowPrivate), ...rangeProblems('deny', deny)]
  if (problems.length > 0) throw invalidOptions(where, problems)
  const { ports = allowHttp ? [...HTTPS_PORTS, ...HTTP_PORTS] : HTTPS_PORTS, agent } = rest
  return Object.freeze({
    allowHttp,
    allowed: rangesOf(allowPrivate),
    ports: ports === 'any' ? undefined : new Set(ports),
    denied: [...METADATA, ...deny.map(parsed)],
    agent
  })
}

/**
 * The policy for a receiver that the operator has chosen, not a client: plain HTTP and any port too.
 *
 * @param allowPrivate without problems, see {@link rangeProblems}
 */
export function operatorPolicy (allowPrivate: boolean | readonly string[]): ResolvedOutboundPolicy {
  return Object.freeze({
    allowHttp: true, allowed: rangesOf(allowPrivate), ports: undefined, denied: METADATA, agent: undefined
  })
}

/** One sentence for each range that is none. @param key the option */
export function rangeProblems (key: string, given: boolean | readonly string[]): string[] {
  if (typeof given === 'boolean') return []
  const problem = (index: number): string => `${key}.${index} must be a range such as "10.0.0.0/8" or "fd00::/8"`
  return given.flatMap((text, index) => isRange(text) ? [] : [problem(index)])
}

function rangesOf (allowPrivate: boolean | readonly string[]): readonly AddressRange[] {
  if (typeof allowPrivate === 'boolean') return allowPrivate ? PRIVATE : []
  return allowPrivate.map(parsed)
}

/** Stricter than `ipaddr.js`, which also reads `0x7f.1/8`. */
function isRange (text: string): boolean {
  const [address = '', bits = '', ...more] = text.split('/')
  const family = isIP(address)
  if (family === 0 || more.length > 0 || address.includes('%') || !/^\d{1,3}$/.test(bits)) return false
  return Number(bits) <= (family === 4 ? 32 : 128) && !(isMapped(address) && Number(bits) < 96)
}

/** Addresses are judged by what they are in IPv4, if they are that; so a range is read in the same way. */
function parsed (text: string): AddressRange {
  const [address, bits] = ipaddr.parseCIDR(text)
  const mapped = address instanceof ipaddr.IPv6 && address.isIPv4MappedAddress()
  return mapped ? [address.toIPv4Address(), bits - 96] : [address, bits]
}

function isMapped (address: string): boolean {
  const read = ipaddr.parse(address)
  return read instanceof ipaddr.IPv6 && read.isIPv4MappedAddress()
}
