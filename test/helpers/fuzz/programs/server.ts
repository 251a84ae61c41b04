// server.ts: returns each request to its caller until it is killed.
import { DistributedRuntime } from '../../../../lib/index.js';
import { emit } from '../../runtime/programs/lines.js';

const runtime = await DistributedRuntime.create({ discovery: { kind: 'mem' }, host: '127.0.0.1' });
const { instance } = await runtime.endpoint<unknown, unknown>('fuzz.worker.generate').serve((request) => request);
emit('ready', { address: instance.address });
