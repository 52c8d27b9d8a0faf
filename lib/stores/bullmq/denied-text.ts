/** Reads from the text of an error whether the server denies something to its user. */
import { ownMessage } from '../../core/errors.ts'

/**
 * Every wording of a server that does not allow something: of a command, in a script, before version 7, and of ACL
 * DRYRUN.
 */
const DENIED = /\bNOPERM\b|ACL failure|has no permissions|can't run this command|can't access|no permission/i
/** The command that it names, also as `config|set`. */
const COMMAND = /'([a-z][a-z0-9._|-]{1,40})' command/i
const KEY = /\bkeys?\b/i
const CHANNEL = /channel/i

/** Whether the server does not allow something to its user, and what, as far as it says. */
export function deniedWhat (error: unknown): string | undefined {
  if (!(error instanceof Error) || !DENIED.test(error.message)) return undefined
  const command = COMMAND.exec(error.message)?.[1]
  if (command !== undefined) return command.toUpperCase()
  return CHANNEL.test(error.message) ? 'a channel' : KEY.test(error.message) ? 'a key' : ''
}

/** Whether an error of the store, whose text is written here, says that the server's user lacks a permission. */
export function saysDenied (error: unknown): boolean { return /\bNOPERM\b/.test(ownMessage(error)) }

/** `NOPERM XADD`: what may be shown of such an error, after the code that it has anyway. */
export function withDenied (code: string, error: unknown): string {
  const what = deniedWhat(error)
  return what === undefined ? code : what === '' ? 'NOPERM' : `NOPERM: ${what}`
}
