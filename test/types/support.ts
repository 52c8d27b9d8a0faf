/** Exactly the same type, not merely assignable. */
export type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false

/** Compiles only when the two types are the same: `same<string, typeof x>(true)`. */
export function same<A, B> (_proof: Equal<A, B>): void {}
