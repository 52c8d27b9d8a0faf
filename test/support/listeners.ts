/** Everybody who can wait for the end of a job, for tests of what they hear in trouble. */
import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { SocketClient } from './socket-client.ts'

/** A frame of a stream of server-sent events. */
export interface Frame {
  readonly event: string
  readonly id: string | undefined
  readonly data: Record<string, unknown>
}

/** Reads one stream of server-sent events to its end. */
export class StreamListener {
  readonly frames: Frame[] = []
  readonly #port: number
  readonly #id: string
  #text = ''
  #begin: () => void = () => {}
  /** Resolves when the first frame has come. */
  readonly begun = new Promise<void>((resolve) => { this.#begin = resolve })

  constructor (port: number, id: string) {
    this.#port = port
    this.#id = id
  }

  /** Resolves with the last frame when the stream has ended. */
  async read (): Promise<Frame | undefined> {
    const headers = { accept: 'text/event-stream' }
    const request = get({ port: this.#port, host: '127.0.0.1', path: `/jobs/${this.#id}`, headers, agent: false })
    const [answer] = await once(request, 'response') as [IncomingMessage]
    if (answer.statusCode !== 200) throw new Error(`the stream was answered with ${answer.statusCode}`)
    for await (const chunk of answer) this.#take(String(chunk))
    return this.frames.at(-1)
  }

  #take (text: string): void {
    const frames = (this.#text + text).split('\n\n')
    this.#text = frames.pop() ?? ''
    for (const frame of frames) {
      const fields = new Map(frame.split('\n').map((line) => line.split(/: (.*)/s) as [string, string]))
      this.frames.push({ event: fields.get('event') ?? '', id: fields.get('id'), data: JSON.parse(fields.get('data') ?? '{}') })
    }
    if (this.frames.length > 0) this.#begin()
  }
}

/** By the way in which somebody waits: in what state the job was when the wait was over. */
export type Ends = Readonly<Record<'long-poll' | 'stream' | 'socket' | 'code', unknown>>

export interface Listeners {
  /** Resolves when every wait is over. */
  readonly ends: Promise<Ends>
}

/**
 * Begins to wait for the end of a job in every way. The application has a server that listens, and WebSockets.
 *
 * @param waitSeconds how long the long poll and the code wait
 */
export async function listenInEveryWay (app: FastifyInstance, port: number, id: string, waitSeconds: number): Promise<Listeners> {
  const polled = longPoll(port, id, waitSeconds)
  const socket = await new SocketClient(port, { deadlineMs: waitSeconds * 1_000 }).opened()
  socket.subscribe(id)
  await socket.nextOf('status', id)
  const stream = new StreamListener(port, id)
  const streamed = stream.read()
  await stream.begun
  const overSocket = async (): Promise<unknown> => {
    const { job } = await socket.nextOf('end', id)
    socket.ws.terminate()
    return stateOf(job)
  }
  const overStream = async (): Promise<unknown> => {
    const last = await streamed
    return last?.event === 'end' ? stateOf(last.data) : last
  }
  const inCode = async (): Promise<unknown> => (await app.jobs.waitFor(id, { timeoutMs: waitSeconds * 1_000 })).state
  const ends = Promise.all([polled, overStream(), overSocket(), inCode()])
    .then(([polled, streamed, socketed, code]) => ({ 'long-poll': polled, stream: streamed, socket: socketed, code }))
  ends.catch(() => { /* the test that awaits it gets the error */ })
  return { ends }
}

async function longPoll (port: number, id: string, waitSeconds: number): Promise<unknown> {
  const answer = await fetch(`http://127.0.0.1:${port}/jobs/${id}`, { headers: { prefer: `wait=${waitSeconds}` } })
  return stateOf(await answer.json())
}

function stateOf (document: unknown): unknown { return Reflect.get(Object(document), 'status') }

/** What every wait should have come to. */
export function all (state: string): Ends { return { 'long-poll': state, stream: state, socket: state, code: state } }
