import type { MetricTable } from './row.ts'

/** Messages: a stream of one short job sends two or three, one of fifty long jobs some thousand. */
const MESSAGE_BUCKETS = Object.freeze([1, 2, 3, 5, 10, 30, 100, 300, 1_000, 3_000, 10_000] as const)

/** Streams and sockets, recorded through `AsyncEndpointsMetrics`: each key is the method that records the row. */
export const CHANNEL_METRICS = {
  /** How many streams or sockets are open, each time that one is opened or closed. */
  channelsOpen: {
    name: 'asyncendpoints.channels.open',
    kind: 'gauge',
    unit: '{connection}',
    description: 'Streams and sockets on which clients listen to their jobs now',
    labels: ['channel_type'],
    acrossProcesses: 'sum',
    panel: 'Listening'
  },
  /** A stream or socket has ended. */
  channelClosed: {
    name: 'asyncendpoints.channels.closed.total',
    kind: 'counter',
    unit: '{connection}',
    description: 'Total number of streams and sockets that have ended, by reason: `slow` means that the client did not ' +
      'read, `limit` that others needed the place',
    labels: ['channel_type', 'reason'],
    panel: 'Listening'
  },
  /** How many messages a stream or socket has sent, when it has ended. */
  channelMessages: {
    name: 'asyncendpoints.channels.messages',
    kind: 'histogram',
    unit: '{message}',
    description: 'Messages that a stream or socket has sent until it ended, pings not counted',
    labels: ['channel_type'],
    buckets: MESSAGE_BUCKETS,
    panel: 'Listening'
  }
} as const satisfies MetricTable
