// Preloaded with `node --import`: a Mac, on which any load of the addon or of a large package fails.
import { register } from 'node:module';

Object.defineProperty(process, 'platform', { value: 'darwin' });

const hooks = `
const FORBIDDEN = /\\/dist\\/addon\\/|^(node-gyp-build|tar|yaml|@kubernetes\\/client-node)$/;
export function resolve(specifier, context, next) {
  const path = specifier.startsWith('.') ? new URL(specifier, context.parentURL).pathname : specifier;
  if (FORBIDDEN.test(path)) throw new Error('loads ' + path);
  return next(specifier, context);
}`;
if (process.env.FORBID_IMPORTS === '1') register(`data:text/javascript,${encodeURIComponent(hooks)}`);

process.on('exit', () => {
  const { user, system } = process.cpuUsage();
  process.stderr.write(`cpu ${(user + system) / 1000} ms\n`);
});
