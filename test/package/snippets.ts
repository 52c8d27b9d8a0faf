/** The TypeScript examples of our pages: found, compiled strictly against the built package, and run where they say so. */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { PATIENCE_MS, type Test } from '../example-server/support.ts'

export const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

/** Node without the hooks that the test runner gives to every child process: the compiler cannot live with them. */
const BARE_NODE = ['-i', `PATH=${process.env['PATH'] ?? ''}`, process.execPath] as const

export interface Snippet {
  /** Where it stands, as a file name: `docs-http-158`. */
  readonly name: string
  readonly code: string
  /** What the page leaves out, from the comment `<!-- given … -->` before the block. */
  readonly given: string
  /** It is run to its end. */
  readonly runnable: boolean
  /** It serves until it is stopped. */
  readonly listens: boolean
}

/** The blocks fenced as `ts`. */
export function snippetsOf (page: string): Snippet[] {
  const markdown = readFileSync(join(ROOT, page), 'utf8')
  const fences = markdown.matchAll(/(?:^<!-- given\n([\s\S]*?)\n-->\n+)?^```ts( runnable)?( listens)?\n([\s\S]*?)^```$/gm)
  return [...fences].map((fence) => {
    const [text, given = '', runnable, listens, code = ''] = fence
    const line = markdown.slice(0, fence.index + text.length).split('\n').length - code.split('\n').length
    return { name: `${page.replace(/\.md$/, '').replaceAll('/', '-')}-${line}`, code, given, runnable: runnable !== undefined, listens: listens !== undefined }
  })
}

const FACE = `import asyncEndpoints, {
  alerts, cancel, defineMetrics, discard, health, isAsyncEndpointsError, jobStore, memoryStore, observability, redisStore, snooze, worker, type AsyncEndpointsOptions
} from 'fastify-async-endpoints'`

/** A block as a module. What is run stands alone; what is only shown may leave out its imports and the application. */
function moduleOf ({ code, given, runnable }: Snippet): string {
  if (runnable) return code
  // Options by themselves: `alerts: { … }`.
  const body = /^[a-zA-Z]+: /.test(code) ? `const options: AsyncEndpointsOptions = {\n${code}}\nexport { options }\n` : code
  const prelude = [
    /from 'fastify-async-endpoints'/.test(code) ? '' : FACE,
    /\b(?:const|let) app\b/.test(code + given) ? '' : "declare const app: import('fastify').FastifyInstance",
    given
  ]
  return `${prelude.filter((part) => part !== '').join('\n')}\n${body}\nexport {}\n`
}

/**
 * Compiles the blocks, strictly; `fastify-async-endpoints` is what this test was built with.
 *
 * @returns the modules to run, by name
 * @throws {Error} with what the compiler says
 */
export async function compile (t: Test, snippets: readonly Snippet[]): Promise<ReadonlyMap<string, string>> {
  // Inside the project, so that packages are found, our own by its name too; the folder's name is one that git, lint and the import rules leave alone.
  const folder = mkdtempSync(join(ROOT, 'dist-snippets-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  for (const snippet of snippets) writeFileSync(join(folder, `${snippet.name}.mts`), moduleOf(snippet))
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({
    compilerOptions: {
      target: 'es2023',
      lib: ['es2023', 'esnext.disposable'],
      module: 'nodenext',
      types: ['node'],
      // What `tsc --init` writes: a newcomer has these.
      strict: true,
      noUncheckedIndexedAccess: true,
      exactOptionalPropertyTypes: true,
      verbatimModuleSyntax: true,
      isolatedModules: true,
      skipLibCheck: true
    },
    files: snippets.map(({ name }) => `${name}.mts`)
  }))
  await promisify(execFile)('env', [...BARE_NODE, join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', folder], { timeout: PATIENCE_MS }).catch((error: { stdout?: string, stderr?: string }) => {
    throw new Error(`the examples do not compile:\n${String(error.stdout)}${String(error.stderr)}`)
  })
  return new Map(snippets.map(({ name }) => [name, join(folder, `${name}.mjs`)]))
}

export interface RunOptions { readonly args?: readonly string[], readonly env?: Readonly<Record<string, string>> }

/** Runs a module to its end. @returns what it printed @throws when it fails, with its output */
export async function runToItsEnd (file: string, { args = [], env = {} }: RunOptions = {}): Promise<string> {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`)
  const [clear, path, node] = BARE_NODE
  try {
    return (await promisify(execFile)('env', [clear, path, ...variables, node, file, ...args], { timeout: PATIENCE_MS })).stdout
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string, stderr?: string }
    throw new Error(`${file} fails:\n${String(stdout)}${String(stderr)}`)
  }
}
