import { found, type Finding } from './findings.ts'
import type { ConnectionStage, RedisFacts } from './redis-facts.ts'

const CERTIFICATE = /CERT|SELF_SIGNED|ALTNAME|UNABLE_TO_VERIFY/
const TLS = /^(EPROTO|ERR_SSL_.+|ERR_TLS_.+)$/

/** Reached or not, and if not, why: each cause has another fix. */
export function checkConnection ({ target, tls, connection }: RedisFacts): Finding {
  if (connection.ok) return found('redis.connection', 'ok', `${target} answers; connected in ${Math.round(connection.connectMs)} ms${tls ? ', with TLS' : ''}`)
  const { stage, code } = connection
  const [what, fix] = explain(stage, code)
  return found('redis.connection', 'problem', `${target}: ${what} (${code})`, fix)
}

function explain (stage: ConnectionStage, code: string): readonly [what: string, fix: string] {
  const word = ANSWERS[code]
  if (word !== undefined) return word
  if (CERTIFICATE.test(code)) return ['the certificate of the server is not accepted', 'Give Node the authority that signed it: NODE_EXTRA_CA_CERTS=/path/to/ca.pem; and use the host name that is in the certificate']
  if (TLS.test(code) || stage === 'handshake') return ['the TLS handshake failed: that port probably speaks no TLS, or wants a client certificate', 'Use redis:// for a port without TLS, or the TLS port of the server (tls-port in redis.conf)']
  if (stage === 'connect') return code === 'ETIMEDOUT' ? NO_CONNECTION : ['no connection came about', 'Check host, port and network: nc -vz HOST PORT']
  if (code === 'ETIMEDOUT') {
    return ['connected, but the server does not answer: it is frozen, busy with a slow command, or no Redis', 'On the server: redis-cli --latency, redis-cli SLOWLOG GET; if the port wants TLS, use rediss://']
  }
  if (/^(ECONNRESET|EPIPE|not connected|not understood)$/.test(code)) return ['connected, and what came back was no answer of Redis: that port probably wants TLS', 'Use rediss:// for a TLS port']
  return ['the server refuses to serve this client; perhaps it does not have the database that the URL names', 'See the log of the server, and try the same URL with redis-cli -u']
}

const NO_CONNECTION = ['no connection in time: the packets go nowhere, as behind a firewall', 'Check host, port, security group or network policy: nc -vz HOST PORT'] as const

/** Words of the server, and codes of the system. */
const ANSWERS: Readonly<Record<string, readonly [what: string, fix: string]>> = {
  ECONNREFUSED: ['nothing listens there', 'Start the server (redis-server), or correct host and port in REDIS_URL'],
  ENOTFOUND: ['unknown host', 'Correct the host name in REDIS_URL, or the DNS of this machine'],
  EAI_AGAIN: ['the host name could not be looked up now', 'Check the DNS of this machine: getent hosts HOST'],
  EHOSTUNREACH: NO_CONNECTION,
  ENETUNREACH: NO_CONNECTION,
  NOAUTH: ['the server wants a password, and the URL has none', 'REDIS_URL=redis://:PASSWORD@HOST:PORT, or redis://USER:PASSWORD@HOST:PORT'],
  WRONGPASS: ['user or password is wrong, or the user is disabled', 'Correct them in REDIS_URL (special characters percent-encoded); on the server: ACL LIST'],
  NOPERM: ['the user may not even PING', 'redis-cli ACL SETUSER NAME on +@all -@admin ~{fae}:* &{fae}:*'],
  DENIED: ['the server is in protected mode and takes connections from its own machine only', 'Set a password (requirepass) and bind in redis.conf'],
  LOADING: ['the server is loading its data set', 'Wait until it is done: redis-cli INFO persistence'],
  MASTERDOWN: ['it is a replica that has lost its master', 'Point REDIS_URL at the master']
}
