import { register } from 'node:module';

const hook = `export async function resolve(specifier, context, next) {
  if (specifier !== '@kubernetes/client-node') return next(specifier, context);
  throw Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' });
}`;

register(`data:text/javascript,${encodeURIComponent(hook)}`);
