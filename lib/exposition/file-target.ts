import { randomBytes } from 'node:crypto'
import { open, realpath, rename, rm, stat, type FileHandle } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/** Makes the temporary file; another one for tests. */
export type OpenTemporary = (path: string) => Promise<Pick<FileHandle, 'writeFile' | 'sync' | 'close'>>

// Readable for all, as a collector runs as somebody else; never over a file that is there.
const openTemporary: OpenTemporary = (path) => open(path, 'wx', 0o644)

/**
 * Writes a file so that a reader sees the old page or the new one and never a part: into a temporary file beside it, down to
 * the disk, then renamed. When anything fails, the old page stays and the temporary file goes.
 */
export async function writeAtomically (path: string, page: Uint8Array, openFile: OpenTemporary = openTemporary): Promise<void> {
  const target = await targetOf(path)
  const temporary = join(dirname(target), `.${basename(target)}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`)
  try {
    const file = await openFile(temporary)
    try {
      await file.writeFile(page)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, target)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => { /* what went wrong before is what counts */ })
    throw error
  }
}

/** Where a link leads to; a rename would replace the link itself, and a device for good. */
async function targetOf (path: string): Promise<string> {
  let target: string
  try {
    target = await realpath(path)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return path
    throw error
  }
  if (!(await stat(target)).isFile()) throw Object.assign(new Error('the path of the file target is there and is no regular file'), { code: 'EINVAL' })
  return target
}
