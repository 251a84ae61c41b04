/** Options without those that are undefined: the native side has its own defaults for what is not there. */
export function defined(options: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
