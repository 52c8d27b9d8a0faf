import { Type } from 'typebox'

/** A member of a body by which a client chooses the step that fails, to see what the saga does then. */
export function FailAt<const Step extends string> (...steps: readonly Step[]) {
  return Type.Optional(Type.Enum(steps))
}

/** Fails every attempt of the step that was chosen. */
export function failIfAsked ({ failAt }: { readonly failAt?: string | undefined }, step: string): void {
  // The client may read this message. Without `expose`, it would see only the code and a fixed text.
  if (failAt !== step) return
  throw Object.assign(new Error(`${step} fails as asked`), { code: 'FAILED_AS_ASKED', expose: true })
}
