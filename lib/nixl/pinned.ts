/**
 * Buffers of the user's that the library may write to, by region. They are kept here, and not by their region or agent,
 * because both may be collected while the library still has the address.
 */
export const pinned = new Map<number, ArrayBufferLike>();
