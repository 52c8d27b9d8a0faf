/** A percent sign that is not followed by two hex digits. */
const BARE_PERCENT = /%(?![0-9A-Fa-f]{2})/g
const NOT_IN_A_PATH = /[^\w!$%&'()*+,./:;=@~-]+/g

/**
 * A path as in a URI (RFC 3986 §3.3), in ASCII: other characters are percent-encoded, and parts that are already
 * encoded stay as they are.
 */
export function uriPath (path: string): string {
  return path.toWellFormed().replace(BARE_PERCENT, '%25').replace(NOT_IN_A_PATH, encodeURIComponent)
}
