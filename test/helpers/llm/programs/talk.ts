/** A conversation on the terminal with the built-in echo, or one answer to what comes on standard input. */
import { Frontend } from '../../../../lib/index.js';

const frontend = await Frontend.start(
  { discovery: { kind: 'mem' }, host: '127.0.0.1' },
  { input: process.argv[2] as 'text' | 'stdin', engine: { kind: 'echo', modelName: 'echo' } },
);
await frontend.ended;
await frontend.close();
