import t from 'tap'
import { echo, testApp } from './support.ts'

/** How clients send a request that needs no body: content type and body. */
const SENT: ReadonlyArray<readonly [string | undefined, string | undefined]> = [
  [undefined, undefined], ['application/json', undefined], ['application/json', ''], ['application/json', '{}'], ['application/json', '{"reason":"no'], ['application/x-www-form-urlencoded', ''],
  ['application/x-www-form-urlencoded', 'a=1'], ['text/plain', 'x'], ['application/octet-stream', '\u0000\u0001'], ['multipart/form-data; boundary=x', '--x--'], ['no media type', 'x'],
  ['application/json', JSON.stringify('x'.repeat(2_000_000))]
]

t.test('cancel, delete and redrive take any body or none, with any content type', async (t) => {
  const { app, store } = await testApp()
  t.teardown(() => app.close())
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  const baseUrl = await app.listen({ port: 0, host: '127.0.0.1' })
  for (const [type, body] of SENT) {
    const headers: Record<string, string> = type === undefined ? {} : { 'content-type': type }
    const what = `${type ?? 'no type'}, ${body === undefined ? 'no body' : `${body.length} bytes`}`
    const send = async (method: string, path: string): Promise<number> => {
      const response = await fetch(baseUrl + path, { method, headers, body })
      await response.arrayBuffer()
      return response.status
    }
    const submit = async (): Promise<string> => String((await app.inject({ method: 'POST', url: '/a' })).headers['x-async-job-id'])
    t.equal(await send('DELETE', `/jobs/${await submit()}`), 200, `DELETE, ${what}`)
    t.equal(await send('POST', `/jobs/${await submit()}/cancel`), 200, `cancel, ${what}`)
    const failed = await submit()
    store.change(failed, { state: 'failed', finishedAt: Date.now() })
    t.equal(await send('POST', `/jobs/${failed}/redrive`), 202, `redrive, ${what}`)
  }
  const submission = await fetch(`${baseUrl}/a`, { method: 'POST', headers: { 'content-type': 'text/html' }, body: 'x' })
  await submission.arrayBuffer()
  t.equal(submission.status, 415, 'a submission needs its body')
})

t.test('hooks of the application see the request without its body', async (t) => {
  const { app } = await testApp({ setup: async (scope) => { scope.addHook('preHandler', async (request) => { t.equal(request.body, undefined) }) } })
  app.asyncEndpoint({ url: '/a', name: 'a', handler: echo })
  const { id } = (await app.inject({ method: 'POST', url: '/a' })).json()
  t.equal((await app.inject({ method: 'DELETE', url: `/jobs/${id}`, payload: { a: 1 } })).statusCode, 200)
})
