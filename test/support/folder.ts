/**
 * Folders of a test's own. They are gone when the test is over; at the latest when its process ends; and when that was killed
 * (a test file that takes too long is), as soon as another test asks for a folder.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

interface Test { teardown (end: () => unknown): unknown }

export interface Folder {
  readonly path: string
  remove (): void
}

const NAME = /^fae-test-(\d+)-/
const open = new Set<string>()
let swept = false

/** An empty folder until the end of a test. */
export function temporaryFolder (t: Test, name: string): string {
  const { path, remove } = makeFolder(name)
  t.teardown(remove)
  return path
}

/** An empty folder until it is removed. */
export function makeFolder (name: string): Folder {
  if (!swept) sweep()
  swept = true
  const path = mkdtempSync(join(tmpdir(), `fae-test-${process.pid}-${name}-`))
  open.add(path)
  return {
    path,
    remove: () => {
      open.delete(path)
      removeAll(path)
    }
  }
}

process.once('exit', () => { for (const path of open) removeAll(path) })

function removeAll (path: string): void {
  rmSync(path, { recursive: true, force: true, maxRetries: 3 })
}

/** Removes what processes left behind that are no more. */
function sweep (): void {
  for (const name of readdirSync(tmpdir())) {
    const pid = Number(NAME.exec(name)?.[1] ?? process.pid)
    if (!lives(pid)) removeAll(join(tmpdir(), name))
  }
}

function lives (pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // Somebody else's process is one too.
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}
