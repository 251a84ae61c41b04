import * as modules from 'node:module';

const NAME = '@kubernetes/client-node';
const missing = () => Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' });

if (modules.registerHooks !== undefined) {
  modules.registerHooks({
    resolve(specifier, context, next) {
      if (specifier === NAME) throw missing();
      return next(specifier, context);
    },
  });
} else {
  // Node.js 20. Later versions warn of it.
  const hook = `export async function resolve(specifier, context, next) {
    if (specifier === '${NAME}') throw (${missing})();
    return next(specifier, context);
  }`;
  modules.register(`data:text/javascript,${encodeURIComponent(hook)}`);
}
