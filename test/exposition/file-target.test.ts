/** A file is whole or it is the one before, whatever happens on the way. */
import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { writeAtomically } from '../../lib/exposition/file-target.ts'

/** Where the kernel itself says that the disk is full. */
const FULL = '/dev/full'

t.test('a page is written whole, over the one before, and nothing else is left', async (t) => {
  const folder = t.testdir()
  const path = join(folder, 'metrics.prom')
  await writeAtomically(path, Buffer.from('first\n'))
  t.equal(readFileSync(path, 'utf8'), 'first\n')
  await writeAtomically(path, Buffer.from('second\n'))
  t.equal(readFileSync(path, 'utf8'), 'second\n')
  t.equal(lstatSync(path).mode & 0o777, 0o644 & ~process.umask(), 'a collector of another user may read it')
  t.same(readdirSync(folder), ['metrics.prom'])
})

t.test('a full disk: the old page stays, the beginning of the new one goes', { skip: existsSync(FULL) ? false : 'there is no /dev/full' }, async (t) => {
  const folder = t.testdir({ 'metrics.prom': 'old\n' })
  const made: string[] = []
  const onFullDisk = async (path: string) => {
    made.push(path)
    // What a full disk leaves behind: an entry in the folder.
    writeFileSync(path, '')
    return await open(FULL, 'w')
  }
  await t.rejects(writeAtomically(join(folder, 'metrics.prom'), Buffer.from('new\n'), onFullDisk), { code: 'ENOSPC' })
  t.equal(made.length, 1)
  t.same(readdirSync(folder), ['metrics.prom'])
  t.equal(readFileSync(join(folder, 'metrics.prom'), 'utf8'), 'old\n')
})

t.test('a disk that fails when the page is flushed, or when the file is closed', async (t) => {
  const folder = t.testdir({ 'metrics.prom': 'old\n' })
  for (const fails of ['sync', 'close'] as const) {
    let closed = 0
    const openFile = async (path: string) => {
      const file = await open(path, 'wx')
      return {
        writeFile: file.writeFile.bind(file) as typeof file.writeFile,
        sync: async () => { if (fails === 'sync') throw Object.assign(new Error('broken'), { code: 'EIO' }) },
        close: async () => {
          closed++
          await file.close()
          if (fails === 'close') throw Object.assign(new Error('broken'), { code: 'EIO' })
        }
      }
    }
    await t.rejects(writeAtomically(join(folder, 'metrics.prom'), Buffer.from('new\n'), openFile), { code: 'EIO' }, fails)
    t.equal(closed, 1, 'no descriptor is left open')
    t.same(readdirSync(folder), ['metrics.prom'])
    t.equal(readFileSync(join(folder, 'metrics.prom'), 'utf8'), 'old\n')
  }
})

t.test('a link is followed and stays a link; what is no file is not replaced', async (t) => {
  const folder = t.testdir({ real: { 'metrics.prom': 'old\n' } })
  const link = join(folder, 'metrics.prom')
  symlinkSync(join('real', 'metrics.prom'), link)
  await writeAtomically(link, Buffer.from('new\n'))
  t.equal(readlinkSync(link), join('real', 'metrics.prom'))
  t.equal(readFileSync(join(folder, 'real', 'metrics.prom'), 'utf8'), 'new\n')
  await t.rejects(writeAtomically(join(folder, 'real'), Buffer.from('new\n')), { code: 'EINVAL' })
  await t.rejects(writeAtomically(join(folder, 'gone', 'metrics.prom'), Buffer.from('new\n')), { code: 'ENOENT' })
  t.same(readdirSync(folder).sort(), ['metrics.prom', 'real'])
})
