import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMainThread } from 'node:worker_threads';

// node --import late-loader.js?loader=URL worker.js: a program of this folder imports the loader itself, after its own
// modules, which would all pass through it. Threads and processes that inherit its flags have the loader at once.

const isOwnProgram = isMainThread && dirname(process.argv[1] ?? '') === dirname(fileURLToPath(import.meta.url));
if (!isOwnProgram) await import(new URL(import.meta.url).searchParams.get('loader') as string);
