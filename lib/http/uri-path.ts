/** A percent sign that begins no code. */
const BARE_PERCENT = /%(?![0-9A-Fa-f]{2})/g
const NOT_IN_A_PATH = /[^\w!$%&'()*+,./:;=@~-]+/g

/** A path as a URI has it (RFC 3986 §3.3), in ASCII: everything else is percent-encoded, and what is encoded already stays as it is. */
export function uriPath (path: string): string {
  return path.toWellFormed().replace(BARE_PERCENT, '%25').replace(NOT_IN_A_PATH, encodeURIComponent)
}
