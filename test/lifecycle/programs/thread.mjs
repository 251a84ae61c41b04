// Not every version of Node.js passes the loader of TypeScript to a thread, so the thread registers it.
import { register } from 'tsx/esm/api';

register();
await import('./threads.ts');
