/** The options of the channels. */
import type { OptionsSchema } from '../core/options.ts'

/** `listening.webSocket`. */
export interface WebSocketOptions {
  /**
   * The origins of pages that may open a WebSocket, such as `https://shop.example`; `'*'` among them allows every page.
   * A browser sends cookies with a WebSocket to any server, so list only pages that you trust.
   *
   * @defaultValue pages of the host that the request is for
   */
  origins?: readonly string[] | undefined
}

export interface ListeningOptions {
  webSocket?: boolean | WebSocketOptions | undefined
}

export const webSocketSchema: OptionsSchema = {
  anyOf: [
    { type: 'boolean' },
    { type: 'object', additionalProperties: false, properties: { origins: { type: 'array', items: { type: 'string' } } } }
  ]
}
