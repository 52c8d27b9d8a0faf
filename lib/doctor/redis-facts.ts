/** Facts about a server. They hold no password, and of errors only the codes. */
export interface RedisFacts {
  /** `redis://host:port/db`, without user and password. */
  readonly target: string
  readonly tls: boolean
  readonly prefix: string
  readonly connection: ConnectionFacts
  /** The answer to INFO, or the code of its refusal. */
  readonly info: Answer<string>
  /** `save` and `appendfsync`, which INFO does not show. */
  readonly settings: Answer<Readonly<Record<string, string>>>
  readonly clock: Answer<ClockFacts>
  readonly latency: Answer<{ readonly medianMs: number, readonly maxMs: number }>
  /** The answer to CLUSTER INFO; only asked of a cluster. */
  readonly cluster: Answer<string>
  /** The commands that were refused, with the code of the refusal. */
  readonly refused: Answer<ReadonlyArray<{ readonly command: string, readonly code: string }>>
  /** Whether the user may subscribe to a channel under the prefix. */
  readonly subscribed: Answer<true>
}

export type ConnectionFacts =
  | { readonly ok: true, readonly connectMs: number }
  | { readonly ok: false, readonly stage: ConnectionStage, readonly code: string }

/** Where it failed: opening the connection, the TLS handshake on it, or the server's answer. */
export type ConnectionStage = 'connect' | 'handshake' | 'answer'

export type Answer<T> = { readonly value: T } | { readonly code: string }

export interface ClockFacts {
  /** The server's clock minus this host's clock, corrected for the round trip. */
  readonly skewMs: number
  /** The true difference is at most this far from `skewMs`. */
  readonly uncertaintyMs: number
}

/** The answer to a question that was never asked. */
export const NOT_ASKED: { readonly code: string } = { code: 'NOT_ASKED' }

/** One reading of the server's clock, with this host's clock just before and after it. */
export interface ClockSample {
  readonly serverMs: number
  /** Wall clock. */
  readonly sentAtMs: number
  /** Monotonic. */
  readonly roundTripMs: number
}

/** Takes the reading with the shortest round trip: the server read its clock somewhere within that time. */
export function clockFacts (samples: readonly ClockSample[]): ClockFacts | undefined {
  const best = samples.toSorted((a, b) => a.roundTripMs - b.roundTripMs)[0]
  if (best === undefined) return undefined
  const half = best.roundTripMs / 2
  return { skewMs: best.serverMs - (best.sentAtMs + half), uncertaintyMs: half }
}
