/**
 * Compares the public face of the built package with the report in the repository, so that it never changes unseen. `UPDATE_API=1`
 * writes the report. A type that a public signature names and that cannot be imported fails the check as well.
 *
 * `node .ci/check-api.js [folder of the package]`
 */
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readPublicFace, ROOT } from './public-face.js'

const REPORT = '.ci/api-report.md'
const root = process.argv[2] ?? ROOT
const { report, hidden } = readPublicFace(root)
const file = join(root, REPORT)

if (process.env.UPDATE_API) writeFileSync(file, report)
const agreed = readFileSync(file, 'utf8')
if (hidden.length > 0) {
  process.stdout.write(`not ok - public signatures name types that cannot be imported; export them from plugins/async-endpoints.ts:\n  ${hidden.join('\n  ')}\n`)
  process.exitCode = 1
} else process.stdout.write('ok - every type that a public signature names can be imported\n')
if (report === agreed) process.stdout.write(`ok - the public face is the one in ${REPORT}\n`)
else {
  const { stdout } = spawnSync('diff', ['-U', '4', '--label', `${REPORT}, as agreed`, '--label', 'what is built', file, '-'], { input: report, encoding: 'utf8' })
  process.stdout.write(`not ok - the public face of the package has changed\n${stdout}\nIf that is on purpose: UPDATE_API=1 npm run check:api, and say it in CHANGELOG.md\n`)
  process.exitCode = 1
}
