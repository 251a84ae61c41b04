/** Module hooks under which lib/ loads without the addon. Option tables need no native code. */

const EMPTY = 'data:text/javascript,export const native = { open() {} };';

export function resolve(specifier, context, next) {
  const loads = specifier === './load.js' && context.parentURL?.includes('/lib/addon/');
  return loads ? { url: EMPTY, shortCircuit: true } : next(specifier, context);
}
