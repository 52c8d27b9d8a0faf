/** Programs of the system that a few tests need. */
import { accessSync, constants } from 'node:fs'

const FOLDERS = ['/usr/sbin', '/usr/bin', '/usr/local/bin']

/** Options of a test that needs one of these programs: it is skipped, and says what to install, where none of them is. */
export function needs (names: readonly string[], install: string): { readonly path: string, readonly options: { readonly skip: string | false } } {
  for (const name of names) {
    for (const folder of FOLDERS) {
      const path = `${folder}/${name}`
      try {
        accessSync(path, constants.X_OK)
        return { path, options: { skip: false } }
      } catch { /* the next one */ }
    }
  }
  return { path: '', options: { skip: `NOT TESTED, because ${names.join(' or ')} is not installed: ${install}` } }
}
