/** A client of server-sent events for tests, with a parser of its own, written from WHATWG HTML §9.2.6. */
import { once } from 'node:events'
import { request, type ClientRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'

const DEADLINE_MS = 10_000

/** An event as a browser dispatches it. */
export interface SseEvent {
  readonly type: string
  readonly lastEventId: string
  readonly data: Record<string, unknown>
}

/** Reads a stream as a browser does, whatever the pieces in which it comes. */
export class SseParser {
  readonly events: SseEvent[] = []
  lastEventId = ''
  retry: number | undefined
  #rest = ''
  #type = ''
  #id: string | undefined
  #data: string[] = []

  add (text: string): void {
    this.#rest += text
    for (;;) {
      const end = /\r\n|\n|\r(?=[^\n])/.exec(this.#rest)
      if (end === null) return
      this.#line(this.#rest.slice(0, end.index))
      this.#rest = this.#rest.slice(end.index + end[0].length)
    }
  }

  #line (line: string): void {
    if (line === '') return this.#dispatch()
    const colon = line.indexOf(':')
    if (colon === 0) return
    const field = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
    if (field === 'event') this.#type = value
    else if (field === 'data') this.#data.push(value)
    else if (field === 'id' && !value.includes('\0')) this.#id = value
    else if (field === 'retry' && /^\d+$/.test(value)) this.retry = Number(value)
  }

  #dispatch (): void {
    this.lastEventId = this.#id ?? this.lastEventId
    const data = this.#data.join('\n')
    if (data !== '') this.events.push({ type: this.#type === '' ? 'message' : this.#type, lastEventId: this.lastEventId, data: JSON.parse(data) })
    this.#type = ''
    this.#id = undefined
    this.#data = []
  }
}

export interface EventClientOptions {
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly method?: string
}

/** Keeps what it hears; a test waits for the next event. */
export class EventClient {
  readonly parser = new SseParser()
  readonly #request: ClientRequest
  readonly #answer: Promise<IncomingMessage>
  #taken = 0
  #over = false
  #bytes = 0
  #wake: () => void = () => {}

  constructor (port: number, { path, headers = {}, method = 'GET' }: EventClientOptions) {
    this.#request = request({ port, host: '127.0.0.1', path, method, agent: false, headers: { accept: 'text/event-stream', ...headers } })
    this.#request.end()
    this.#answer = once(this.#request, 'response', { signal: AbortSignal.timeout(DEADLINE_MS) }).then(([answer]) => this.#read(answer))
    this.#request.on('error', () => { this.#ended() })
    this.#answer.catch(() => { /* the test that asks for the answer gets the error */ })
  }

  /** How many bytes came. */
  get bytes (): number { return this.#bytes }

  async answered (): Promise<{ readonly status: number | undefined, readonly headers: IncomingHttpHeaders }> {
    const { statusCode: status, headers } = await this.#answer
    return { status, headers }
  }

  /** The next event that was not yet taken. */
  async next (): Promise<SseEvent> {
    await this.#answer
    for (;;) {
      const event = this.parser.events[this.#taken]
      if (event !== undefined) {
        this.#taken++
        return event
      }
      if (this.#over) throw new Error(`the stream has ended; so far: ${JSON.stringify(this.parser.events).slice(0, 500)}`)
      await this.#news()
    }
  }

  /** The next event of this type; those before it are skipped. */
  async nextOf (type: string, id?: string): Promise<SseEvent> {
    for (;;) {
      const event = await this.next()
      if (event.type === type && (id === undefined || event.data['id'] === id)) return event
    }
  }

  /** All events until the server ends the stream, those that were taken included. */
  async ended (): Promise<readonly SseEvent[]> {
    await this.#answer
    while (!this.#over) await this.#news()
    return this.parser.events
  }

  /** Drops the events that were heard so far. */
  forget (): void {
    this.parser.events.length = 0
    this.#taken = 0
  }

  /** The client goes away without a word. */
  leave (): void { this.#request.destroy() }

  #read (answer: IncomingMessage): IncomingMessage {
    answer.setEncoding('utf8')
    answer.on('data', (text: string) => {
      this.#bytes += text.length
      this.parser.add(text)
      this.#wake()
    })
    answer.on('close', () => { this.#ended() })
    answer.on('error', () => { this.#ended() })
    return answer
  }

  #ended (): void {
    this.#over = true
    this.#wake()
  }

  async #news (): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => { reject(new Error(`waited in vain for an event; so far: ${JSON.stringify(this.parser.events).slice(0, 500)}`)) }, DEADLINE_MS)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}
