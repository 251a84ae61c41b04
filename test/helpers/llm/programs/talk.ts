/** A conversation with the built-in echo on the terminal, or one answer to the prompt on standard input. */
import { Frontend } from '../../../../lib/index.js';

const frontend = await Frontend.start(
  { discovery: { kind: 'mem' }, host: '127.0.0.1' },
  { input: process.argv[2] as 'text' | 'stdin', engine: { kind: 'echo', modelName: 'echo' } },
);
await frontend.ended;
await frontend.close();
