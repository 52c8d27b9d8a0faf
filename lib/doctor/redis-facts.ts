/** What was learnt from a server. Nothing in here comes from a password, and no text of an error is kept: codes only. */
export interface RedisFacts {
  /** `redis://host:port/db`, without user and password. */
  readonly target: string
  readonly tls: boolean
  readonly prefix: string
  readonly connection: ConnectionFacts
  /** The answer to INFO, or the code of its refusal. */
  readonly info: Answer<string>
  /** `save` and `appendfsync`, which INFO does not tell. */
  readonly settings: Answer<Readonly<Record<string, string>>>
  readonly clock: Answer<ClockFacts>
  readonly latency: Answer<{ readonly medianMs: number, readonly maxMs: number }>
  /** The answer to CLUSTER INFO; asked of a cluster only. */
  readonly cluster: Answer<string>
  /** The commands that were refused, with the code of the refusal. */
  readonly refused: Answer<ReadonlyArray<{ readonly command: string, readonly code: string }>>
  /** Whether a channel under the prefix can be subscribed to. */
  readonly subscribed: Answer<true>
}

export type ConnectionFacts =
  | { readonly ok: true, readonly connectMs: number }
  | { readonly ok: false, readonly stage: ConnectionStage, readonly code: string }

/** How far it got: no connection came about, one did but no TLS on it, or all is there and no proper answer came. */
export type ConnectionStage = 'connect' | 'handshake' | 'answer'

export type Answer<T> = { readonly value: T } | { readonly code: string }

export interface ClockFacts {
  /** The server's clock minus ours, the round trip taken out. */
  readonly skewMs: number
  /** The truth lies within this of it. */
  readonly uncertaintyMs: number
}

/** For what was never asked. */
export const NOT_ASKED: { readonly code: string } = { code: 'not asked' }

/** One reading of the server's clock, and ours just before and after it. */
export interface ClockSample {
  readonly serverMs: number
  /** Wall clock. */
  readonly sentAtMs: number
  /** Monotonic. */
  readonly roundTripMs: number
}

/** The reading with the shortest round trip says most; the server read its clock somewhere within it. */
export function clockFacts (samples: readonly ClockSample[]): ClockFacts | undefined {
  const best = samples.toSorted((a, b) => a.roundTripMs - b.roundTripMs)[0]
  if (best === undefined) return undefined
  const half = best.roundTripMs / 2
  return { skewMs: best.serverMs - (best.sentAtMs + half), uncertaintyMs: half }
}
