import neostandard, { resolveIgnoresFromGitignore } from 'neostandard'

const TYPESCRIPT = ['**/*.ts']
const LIBRARY = ['lib/**/*.ts', 'plugins/**/*.ts']

/** The library prints nothing, ends no process and listens to none: those belong to the application. */
const restrictedProcess = (...properties) => ['error', ...properties.map((property) => ({ object: 'process', property, message: 'The process belongs to the application.' }))]
const LISTENING = ['on', 'once', 'addListener', 'prependListener']

export default [
  ...neostandard({ ts: true, noJsx: true, ignores: [...resolveIgnoresFromGitignore(), 'coverage/'] }),
  {
    files: TYPESCRIPT,
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports', disallowTypeAnnotations: false }],
      // A promise nobody waits for is said aloud: `void work()`.
      'no-void': ['error', { allowAsStatement: true }],
      // The compiler tells what is unused, and knows that a merged declaration must repeat all its type parameters.
      '@typescript-eslint/no-unused-vars': 'off',
      // Short members that belong together may share a line.
      '@stylistic/object-property-newline': 'off'
    }
  },
  {
    // Types are needed to see a forgotten promise; only the library is checked that way, to keep the lint quick.
    files: LIBRARY,
    languageOptions: { parserOptions: { project: './tsconfig.json', tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': ['error', { checksVoidReturn: false }],
      'no-console': 'error',
      'no-restricted-properties': restrictedProcess(...LISTENING, 'exit', 'abort', 'kill', 'chdir')
    }
  },
  {
    // A program of its own, and what it puts into the process of an application that it started: they may end it, and nothing else of the above.
    files: ['lib/doctor/main.ts', 'lib/doctor/probe.ts'],
    rules: { 'no-restricted-properties': restrictedProcess(...LISTENING, 'abort', 'kill', 'chdir') }
  },
  {
    // What handlers and checks may do wrong, tests do on purpose.
    files: ['test/**/*.ts', 'lib/testing/**/*.ts'],
    rules: { 'prefer-promise-reject-errors': 'off', 'no-throw-literal': 'off', '@typescript-eslint/only-throw-error': 'off' }
  }
]
