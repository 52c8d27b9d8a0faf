/** The upper bounds of the buckets of histograms. */

/** Seconds, 5 ms to 1 h. The usual defaults of Prometheus end at 10 s, where many jobs only begin. */
export const JOB_BUCKETS = Object.freeze([
  0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600
] as const)

/** Seconds, for round trips to a store: most of them end below 5 ms, and all before their deadline. */
export const STORE_BUCKETS = Object.freeze([
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10
] as const)

/** Bytes, 64 B to 16 MiB in steps of four: from a small request to more than a store should hold per job. */
export const SIZE_BUCKETS = Object.freeze([
  64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216
] as const)

/** Bytes, 1 KiB to 1 GiB in steps of four: by how much an operation changes a heap. */
export const HEAP_BUCKETS = Object.freeze([
  1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864, 268_435_456, 1_073_741_824
] as const)

/** Attempts: the first few one by one, later ones in larger steps. */
export const ATTEMPT_BUCKETS = Object.freeze([1, 2, 3, 5, 10, 20, 50, 100] as const)
