/** What a step can be called. Names are also keys in the store, labels of metrics, and members of `results`. */
export const STEP_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/

/** {@link STEP_NAME} in words, for messages: "the name must be …". */
export const STEP_NAME_RULE = '1 to 64 letters, digits, "_", "." or "-", the first a letter or digit'
