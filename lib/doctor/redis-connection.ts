import { CONNECTION_ADVICE, NO_CONNECTION } from '../stores/bullmq/advice.ts'
import { found, type Finding } from './findings.ts'
import type { ConnectionStage, RedisFacts } from './redis-facts.ts'

const CERTIFICATE = /CERT|SELF_SIGNED|ALTNAME|UNABLE_TO_VERIFY/
const TLS = /^(EPROTO|ERR_SSL_.+|ERR_TLS_.+)$/

/** Whether the server can be reached, and if not, why: each cause has its own fix. */
export function checkConnection ({ target, tls, connection }: RedisFacts): Finding {
  if (connection.ok) return found('redis.connection', 'ok', `${target} answers; connected in ${Math.round(connection.connectMs)} ms${tls ? ', with TLS' : ''}`)
  const { stage, code } = connection
  const [what, fix] = explain(stage, code)
  return found('redis.connection', 'problem', `${target}: ${what} (${code})`, fix)
}

function explain (stage: ConnectionStage, code: string): readonly [what: string, fix: string] {
  const word = CONNECTION_ADVICE[code]
  if (word !== undefined) return word
  if (CERTIFICATE.test(code)) {
    return ['the certificate of the server is not accepted',
      'Give Node the authority that signed it (NODE_EXTRA_CA_CERTS=/path/to/ca.pem), and use the host name that is in the certificate']
  }
  if (TLS.test(code) || stage === 'handshake') {
    return ['the TLS handshake failed: that port probably does not use TLS, or requires a client certificate',
      'Use redis:// for a port without TLS, or the TLS port of the server (tls-port in redis.conf)']
  }
  if (stage === 'connect') {
    return code === 'ETIMEDOUT' ? NO_CONNECTION : ['the connection could not be opened', 'Check host, port and network: nc -vz HOST PORT']
  }
  if (code === 'ETIMEDOUT') {
    return ['connected, but the server does not answer: it is frozen, busy with a slow command, or not a Redis server',
      'On the server: redis-cli --latency, redis-cli SLOWLOG GET; if the port uses TLS, use rediss://']
  }
  if (/^(ECONNRESET|EPIPE|not connected|not understood)$/.test(code)) {
    return ['connected, but the reply is not an answer of Redis: that port probably uses TLS', 'Use rediss:// for a TLS port']
  }
  return ['the server refuses to serve this client; perhaps it does not have the database that the URL names',
    'Read the log of the server, and try the same URL with redis-cli -u']
}
