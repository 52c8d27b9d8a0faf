/** How a message reaches its receiver. */

/** One message, as it is sent. */
export interface WebhookRequest {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** For the whole attempt, in milliseconds. */
  readonly timeoutMs: number
  /** Ends the attempt. */
  readonly signal: AbortSignal
}

/** What came back: nothing of the response's body. */
export interface WebhookAnswer {
  /** `undefined`: there was no response. */
  readonly status: number | undefined
  /** Without a response, why: `ECONNREFUSED`, `ETIMEDOUT`, …, or a reason for which the URL is refused. */
  readonly code: string | undefined
  /** Whether nothing was sent because the URL, or an address behind it, must not be called. */
  readonly refused: boolean
  /** The header `retry-after`. */
  readonly retryAfter: string | undefined
  /** The header `webhook-delivery`. */
  readonly delivery: string | undefined
}

/** For an event: all that is shown of a URL. Empty if it cannot be read. */
export function hostOf (url: string): string { return URL.canParse(url) ? new URL(url).hostname : '' }

/** Why a URL must not be called. */
export interface WebhookRefusal {
  /** One word, for events: `not-https`, `port`, … */
  readonly reason: string
  /** For the client, without the URL. */
  readonly sentence: string
}

/** Sends messages, and only to where they may go. */
export interface WebhookTransport {
  /** Whether a URL is refused, whatever addresses are behind it. */
  refuses (url: string): WebhookRefusal | undefined
  /** Checks the URL and every address behind it, then sends. Never rejects. Follows no redirect. */
  send (request: WebhookRequest): Promise<WebhookAnswer>
  close (): void
}
