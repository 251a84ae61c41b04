/** What was loaded in this environment besides the addon itself, for `versions()`. */
export const loaded: { nixl?: string } = {};
