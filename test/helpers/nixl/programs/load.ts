// Loads the library, and prints it and the variables that it has set. Usage: load.ts OPTIONS, as JSON
import { loadNixl } from 'dynamo-node';

import { emit } from '../../runtime/programs/lines.js';

const { kind, path } = loadNixl(JSON.parse(process.argv[2] ?? '{}'));
const { UCX_DEBUG_SIGNO, UCX_HANDLE_ERRORS, UCX_MEM_MMAP_HOOK_MODE } = process.env;
emit('loaded', { kind, path, environment: { UCX_DEBUG_SIGNO, UCX_HANDLE_ERRORS, UCX_MEM_MMAP_HOOK_MODE } });
