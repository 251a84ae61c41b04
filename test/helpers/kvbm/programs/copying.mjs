// A thread does not inherit the loader of TypeScript on every version of Node: it registers its own.
import { register } from 'tsx/esm/api';

register();
await import('./copying.ts');
