// A thread does not inherit the TypeScript loader in every version of Node.js, so it registers its own.
import { register } from 'tsx/esm/api';

register();
await import('./blocks.ts');
