/** The TypeScript examples of the docs compile against the built package; those marked `runnable` run. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { compile, ROOT, runToItsEnd, snippetsOf } from './snippets.ts'

t.test('the examples of the docs', async (t) => {
  const pages = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`)
  const snippets = pages.flatMap(snippetsOf)
  for (const page of ['docs-http', 'docs-jobs', 'docs-testing']) {
    t.ok(snippets.filter(({ name }) => name.startsWith(`${page}-`)).length >= 3, `${page} has examples`)
  }
  const files = await compile(t, snippets)
  for (const { name } of snippets.filter(({ runnable, listens }) => runnable && !listens)) {
    await t.test(`${name} runs to its end`, async () => { await runToItsEnd(files.get(name) ?? '') })
  }
})
