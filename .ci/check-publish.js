/**
 * Refuses `npm publish` while package.json does not say where the repository is. The links of README.md are relative: they
 * work in a checkout and in the installed package, which has docs/ in it, but on the page of a registry only when the
 * registry can resolve them against `repository`.
 */
import { readFileSync } from 'node:fs'

const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
const missing = ['repository', 'homepage', 'bugs'].filter((field) => manifest[field] === undefined)
if (missing.length > 0) {
  process.stderr.write(`package.json has no ${missing.join(', no ')}. Set them before publishing: without them the links of README.md lead nowhere on the registry's page.\n`)
  process.exitCode = 1
}
