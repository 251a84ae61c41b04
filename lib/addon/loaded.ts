/** The versions of libraries that were loaded after the addon, for `versions()`. */
export const loaded: { nixl?: string } = {};
