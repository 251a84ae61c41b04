// frontend.ts DIR PORT: Dynamo's frontend in a process of its own.
import { closeOnSignal, Frontend } from 'dynamo-node';
import { emit } from '../../runtime/programs/lines.js';

const [dir, port] = process.argv.slice(2) as [string, string];
const frontend = await Frontend.start(
  { discovery: { kind: 'file', dir }, host: '127.0.0.1', inhibitedSeconds: 0 },
  { host: '127.0.0.1', port: Number(port) },
);
closeOnSignal(() => frontend.close());
emit('ready', { url: frontend.url });
