/**
 * Reads the public face of the package from the declarations in `dist`: what can be imported, what the plugins add to Fastify, and
 * the types that these name. TypeScript 7 has no stable API yet; the TypeScript 6 that the linter brings reads the same declarations.
 */
import { createRequire } from 'node:module'
import { dirname, join, relative, resolve } from 'node:path'

const require = createRequire(import.meta.url)
export const ts = createRequire(require.resolve('neostandard'))('typescript')

const ENTRIES = { '.': 'plugins/async-endpoints.d.ts', './testing': 'lib/testing/index.d.ts' }

/**
 * @param {string} root the folder of the package, built
 * @returns {{ report: string, hidden: string[] }} the face as text; what a public signature names and nobody can import
 */
export function readPublicFace (root) {
  const dist = resolve(root, 'dist')
  const files = Object.values(ENTRIES).map((file) => join(dist, file))
  const program = ts.createProgram(files, { module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext, target: ts.ScriptTarget.ES2023, types: ['node'], strict: true, noEmit: true, skipLibCheck: true })
  return new Face(program, dist).read()
}

class Face {
  constructor (program, dist) {
    this.checker = program.getTypeChecker()
    this.dist = dist
    this.ours = program.getSourceFiles().filter(({ fileName }) => this.isOurs(fileName))
    this.program = program
    this.printer = ts.createPrinter({ removeComments: true, newLine: ts.NewLineKind.LineFeed })
    /** Symbols that can be imported. */
    this.exported = new Set()
    /** What exported types are computed with: symbol → declarations. */
    this.helpers = new Map()
    this.hidden = new Set()
    this.walked = new Set()
  }

  isOurs (fileName) { return !relative(this.dist, fileName).startsWith('..') && !fileName.includes('/node_modules/') }

  read () {
    const entries = Object.entries(ENTRIES).map(([name, file]) => {
      const source = this.program.getSourceFile(join(this.dist, file))
      if (source === undefined) throw new Error(`dist/${file} is missing; run npm run build`)
      const symbols = this.checker.getExportsOfModule(this.checker.getSymbolAtLocation(source)).map((symbol) => [symbol.name, this.target(symbol)])
      for (const [, symbol] of symbols) this.exported.add(symbol)
      return [name, symbols.sort(([a], [b]) => a < b ? -1 : 1)]
    })
    const blocks = entries.map(([name, symbols]) => {
      const seen = new Map()
      const texts = symbols.map(([exportName, symbol]) => {
        const known = seen.get(symbol)
        if (known !== undefined) return `export { ${known} as ${exportName} }`
        seen.set(symbol, exportName)
        return this.declarationsOf(symbol).map((declaration) => this.show(declaration, exportName)).join('\n')
      })
      return [name === '.' ? 'fastify-async-endpoints' : `fastify-async-endpoints${name.slice(1)}`, texts]
    })
    const added = this.ours.flatMap((source) => source.statements.filter((node) => ts.isModuleDeclaration(node) && ts.isStringLiteral(node.name))).map((node) => this.show(node))
    blocks.push(['What the plugins add to Fastify', added.sort()])
    const helpers = []
    // Walking one may find more.
    for (const declarations of this.helpers.values()) for (const declaration of declarations) helpers.push(this.show(declaration))
    blocks.push(['What the types above are computed with; it cannot be imported', helpers.sort()])
    return { report: toMarkdown(blocks), hidden: [...this.hidden].sort() }
  }

  target (symbol) { return symbol.flags & ts.SymbolFlags.Alias ? this.checker.getAliasedSymbol(symbol) : symbol }

  declarationsOf (symbol) { return (symbol.declarations ?? []).filter((declaration) => this.isOurs(declaration.getSourceFile().fileName)) }

  show (declaration, exportName) {
    const computed = ts.isTypeAliasDeclaration(declaration) && isComputed(declaration)
    // What a type without parameters is computed with does not appear in it: the report shows what it comes to.
    if (!this.walked.has(declaration) && !(computed && declaration.typeParameters === undefined)) {
      this.walked.add(declaration)
      this.walk(declaration, declaration)
    }
    if (computed) return `export type ${exportName ?? declaration.name.text} = ${this.resolved(declaration)}`
    const statement = ts.isVariableDeclaration(declaration) ? declaration.parent.parent : declaration
    const text = this.printer.printNode(ts.EmitHint.Unspecified, statement, declaration.getSourceFile()).replace(/^ {4,}/gm, (spaces) => ' '.repeat(spaces.length / 2))
    const name = declaration.name?.text
    return exportName === undefined || name === undefined || name === exportName ? text : `${text}\nexport { ${name} as ${exportName} }`
  }

  /** What a type comes to that is taken from a table: names, or the members of an object. */
  resolved (declaration) {
    const flags = ts.TypeFormatFlags.NoTruncation | ts.TypeFormatFlags.InTypeAlias | ts.TypeFormatFlags.UseSingleQuotesForStringLiteralType
    const shown = (type) => this.checker.typeToString(type, declaration, flags)
    const type = this.checker.getTypeAtLocation(declaration.name)
    if (type.isUnion()) return type.types.map(shown).sort().join(' | ')
    if (!ts.isMappedTypeNode(declaration.type)) return shown(type)
    return `{${type.getProperties().map((property) => `\n  ${property.name}${property.flags & ts.SymbolFlags.Optional ? '?' : ''}: ${shown(this.checker.getTypeOfSymbol(property))}`).sort().join('')}\n}`
  }

  /** Looks at every name of ours below a declaration. */
  walk (node, top) {
    ts.forEachChild(node, (child) => {
      if (ts.isIdentifier(child) && !isName(child)) this.check(child, top)
      this.walk(child, top)
    })
  }

  check (identifier, top) {
    const found = this.checker.getSymbolAtLocation(identifier)
    if (found === undefined) return
    const symbol = this.target(found)
    if (this.exported.has(symbol) || symbol.flags & (ts.SymbolFlags.TypeParameter | ts.SymbolFlags.Property | ts.SymbolFlags.Method | ts.SymbolFlags.FunctionScopedVariable)) return
    const declarations = this.declarationsOf(symbol)
    const [declaration] = declarations
    // Of another package, or a member of what is shown: it is not imported by itself.
    if (declaration === undefined || !ts.isSourceFile(enclosing(declaration))) return
    // Constants that a type is taken of (`typeof TABLE`), and unique symbols: nobody has to write them down.
    if (symbol.flags & ts.SymbolFlags.Variable) return
    // What a type is computed with, and the functions behind the plugins: shown, because they are part of what is promised.
    if ((ts.isTypeAliasDeclaration(declaration) && ts.isTypeAliasDeclaration(top)) || ts.isFunctionDeclaration(declaration) || isTable(identifier)) {
      this.helpers.set(symbol, declarations)
      return
    }
    this.hidden.add(`${symbol.name} (${relative(this.dist, declaration.getSourceFile().fileName)}), named by ${nameOf(top)}`)
  }
}

function nameOf (declaration) {
  if (!ts.isModuleDeclaration(declaration)) return declaration.name?.text ?? 'a declaration'
  return `what is added to ${declaration.name.text}`
}

/** A type whose members are looked up (`Fields[K]`, `keyof Fields`), and that is the type of nothing. */
function isTable ({ parent }) {
  const { parent: user } = parent
  return (ts.isIndexedAccessTypeNode(user) && user.objectType === parent) || (ts.isTypeOperatorNode(user) && user.operator === ts.SyntaxKind.KeyOfKeyword)
}

/** A type without parameters whose text does not say what it is: `keyof typeof TABLE`, or a mapped type. */
function isComputed ({ type, typeParameters }) {
  if (typeParameters !== undefined) return false
  const asks = (node) => ts.isTypeQueryNode(node) || ts.forEachChild(node, asks) === true
  return asks(type) || ts.isMappedTypeNode(type)
}

function isName (identifier) { return identifier.parent.name === identifier }

function enclosing (declaration) {
  return ts.isVariableDeclaration(declaration) ? declaration.parent.parent.parent : declaration.parent
}

function toMarkdown (blocks) {
  const head = '# API report\n\nWritten by `npm run check:api`, which fails when the public face of the package is another than the one below. `UPDATE_API=1 npm run check:api` accepts it.\n'
  return `${head}${blocks.filter(([, texts]) => texts.length > 0).map(([name, texts]) => `\n## ${name}\n\n\`\`\`ts\n${texts.join('\n\n')}\n\`\`\`\n`).join('')}`
}

/** The folder of the package that this file belongs to. */
export const ROOT = dirname(import.meta.dirname)
