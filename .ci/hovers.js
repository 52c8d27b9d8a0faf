/**
 * Prints what an editor shows for names in a TypeScript file: one line of JSON per mark. A mark is a comment line `// ^?` below the line
 * in question, its arrow under the name.
 *
 * `node .ci/hovers.js <file>`
 */
import { readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { ts } from './public-face.js'

const file = process.argv[2]
const options = { module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext, target: ts.ScriptTarget.ES2023, types: ['node'], strict: true, noEmit: true, skipLibCheck: true }
const service = ts.createLanguageService({
  getScriptFileNames: () => [file],
  getScriptVersion: () => '1',
  getScriptSnapshot: (name) => ts.sys.fileExists(name) ? ts.ScriptSnapshot.fromString(readFileSync(name, 'utf8')) : undefined,
  getCurrentDirectory: () => dirname(file),
  getCompilationSettings: () => options,
  getDefaultLibFileName: ts.getDefaultLibFilePath,
  fileExists: ts.sys.fileExists,
  readFile: ts.sys.readFile,
  readDirectory: ts.sys.readDirectory,
  directoryExists: ts.sys.directoryExists,
  getDirectories: ts.sys.getDirectories
})
const text = readFileSync(file, 'utf8')
for (const mark of text.matchAll(/^( *\/\/ *)\^\?$/gm)) {
  const above = text.lastIndexOf('\n', mark.index - 2) + 1
  const info = service.getQuickInfoAtPosition(file, above + mark[1].length)
  process.stdout.write(`${JSON.stringify(ts.displayPartsToString(info?.displayParts ?? []))}\n`)
}
