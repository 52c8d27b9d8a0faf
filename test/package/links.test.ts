/** No page that we write has a dead link: neither in a checkout, nor in the installed package, nor on a registry's page. */
import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
const PATIENCE_MS = 60_000

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8')
const pages = ['', 'docs/', 'example-server/'].flatMap((folder) => readdirSync(join(ROOT, folder)).map((name) => folder + name)).filter((path) => path.endsWith('.md'))

/** The markdown without what stands in code: a link there is an example. */
function prose (markdown: string): string {
  return markdown.replace(/^```[\s\S]*?^```$/gm, '').replace(/`[^`\n]*`/g, '')
}

/** Targets of `[text](target)` and of `[label]: target`. */
function linksOf (markdown: string): string[] {
  const text = prose(markdown)
  return [...text.matchAll(/\]\(([^)\s]+)(?: "[^"]*")?\)/g), ...text.matchAll(/^\[[^\]]+\]: (\S+)/gm)].map(([, target]) => target ?? '')
}

/** The anchors of a page's headings, as GitHub and npm make them. */
function anchorsOf (markdown: string): Set<string> {
  const headings = [...markdown.replace(/^```[\s\S]*?^```$/gm, '').matchAll(/^#{1,6} (.+)$/gm)].map(([, heading]) => heading ?? '')
  return new Set(headings.map((heading) => heading.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-')))
}

/** What is wrong with the links of a page, given what exists. */
function deadLinks (page: string, exists: (path: string) => boolean): string[] {
  return linksOf(read(page)).flatMap((link) => {
    if (/^(https?|mailto):/.test(link)) return URL.canParse(link) && !/\/\/(localhost|127\.)/.test(link) ? [] : [`${page}: ${link} is no address for a reader`]
    const [path = '', anchor] = link.split('#')
    const target = path === '' ? page : posix.normalize(posix.join(dirname(page), path))
    if (!exists(target)) return [`${page}: ${link} is not there`]
    return anchor !== undefined && !anchorsOf(read(target)).has(anchor) ? [`${page}: ${link}: no such heading`] : []
  })
}

t.test('in a checkout every link leads to a file, and to a heading of it', async (t) => {
  t.ok(pages.includes('README.md') && pages.includes('docs/http.md'))
  t.ok(pages.flatMap((page) => linksOf(read(page))).length > 50, 'there are links')
  t.strictSame(pages.flatMap((page) => deadLinks(page, (path) => existsSync(join(ROOT, path)))), [])
})

t.test('in the packed tarball too', async (t) => {
  const { stdout } = await promisify(execFile)('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: ROOT, timeout: PATIENCE_MS, maxBuffer: 16 << 20 })
  const [packed] = JSON.parse(stdout) as Array<{ files: Array<{ path: string }> }>
  const files = packed?.files.map(({ path }) => path) ?? []
  const shipped = (path: string): boolean => files.some((file) => file === path || file.startsWith(`${path}/`))
  t.ok(shipped('README.md') && shipped('docs'), 'the pages are in it')
  t.strictSame(pages.filter(shipped).flatMap((page) => deadLinks(page, shipped)), [])
})

t.test('nothing is published whose links a registry cannot resolve', async (t) => {
  const manifest = JSON.parse(read('package.json')) as Record<string, unknown>
  const { repository, homepage, bugs } = manifest
  const complete = [repository, homepage, bugs].every((field) => field !== undefined)
  const check = promisify(execFile)(process.execPath, [join(ROOT, '.ci/check-publish.js')], { timeout: PATIENCE_MS })
  if (complete) await t.resolves(check)
  else await t.rejects(check, /package\.json has no .*Set them before publishing/)
  t.match(manifest['scripts'], { prepublishOnly: 'node .ci/check-publish.js' })
})
