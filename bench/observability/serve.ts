/** The measured process: serves one variant, and tells what a load has used of the processor. */
import { BODY, BUILD, isVariant, MEMORY } from './variants.ts'

/** What the parent asks: so many jobs will come (or are made here, where they live in memory); or, how many spans did the exporter get? */
export type Order = { readonly jobs: number } | 'spans' | 'close'
export type Answer = { readonly port: number } | { readonly cpuMicros: number } | { readonly spans: number | undefined }

/** How often it is looked whether the last attempts are over. */
const LOOK_MS = 1
/** Jobs under way at once, where they are made here. */
const IN_FLIGHT = 50

const [variant = '', url = '', prefix = ''] = process.argv.slice(2)
if (!isVariant(variant)) throw new Error(`there is no variant ${variant}`)

let left = 0
let since = process.cpuUsage()
const tell = (answer: Answer): void => { process.send?.(answer) }

// Counted in the handler: a listener on the bus would have events built that the variant alone has no use for.
const subject = await BUILD[variant]({ url, prefix }, () => { if (--left === 0) setTimeout(finish, LOOK_MS) })

/** In turns of its own, so that no job is submitted from inside another's handler. */
function submit (jobs: number): void {
  let sent = 0
  const turn = (): void => {
    for (; sent < jobs && sent - (jobs - left) < IN_FLIGHT; sent++) void subject.app.jobs.submit('report', BODY)
    if (sent < jobs) setImmediate(turn)
  }
  turn()
}

function finish (): void {
  if (subject.active() > 0) {
    setTimeout(finish, LOOK_MS)
    return
  }
  const { user, system } = process.cpuUsage(since)
  tell({ cpuMicros: user + system })
}

async function obey (order: Order): Promise<void> {
  if (order === 'spans') tell({ spans: await subject.spans() })
  else if (order === 'close') {
    await subject.app.close()
    process.disconnect()
  } else {
    left = order.jobs
    since = process.cpuUsage()
    if (url === MEMORY) submit(order.jobs)
  }
}

process.on('message', (order: Order) => { void obey(order) })
// The parent has gone.
process.on('disconnect', () => { process.exit() })
await subject.app.listen({ port: 0, host: '127.0.0.1' })
const address = subject.app.server.address()
tell({ port: typeof address === 'object' && address !== null ? address.port : 0 })
