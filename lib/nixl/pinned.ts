/**
 * The caller's buffers that the library may write to, by region id. Neither the region nor the agent keeps them,
 * because both may be garbage-collected while the library still has the address.
 */
export const pinned = new Map<number, ArrayBufferLike>();
