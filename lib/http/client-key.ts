import type { FastifyRequest } from 'fastify'

/**
 * Identifies the client of a request, so that limited resources can be shared fairly among clients: by its owner if
 * an owner function returned one, otherwise by its address. IPv6 addresses are compared by their /64 network, which
 * is what one customer of a provider has. Behind a proxy all requests have the proxy's address, unless Fastify's
 * `trustProxy` is set.
 */
export function clientKey (request: FastifyRequest, owner: string | undefined): string {
  return owner === undefined ? `ip:${network(request.ip)}` : `owner:${owner}`
}

function network (address: string): string {
  if (!address.includes(':')) return address
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  if (mapped !== undefined) return mapped
  const [head = '', tail] = address.split('::')
  const groups = head === '' ? [] : head.split(':')
  if (tail !== undefined) {
    const after = tail === '' ? 0 : tail.split(':').length
    while (groups.length + after < 8) groups.push('0')
  }
  return groups.slice(0, 4).map((group) => group.toLowerCase().replace(/^0+(?=.)/, '')).join(':')
}
