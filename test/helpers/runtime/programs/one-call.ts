/** one-call.ts OPTIONS: calls the worker of `worker.ts` once and reports the result. */
import { DistributedRuntime, DynamoError, type RuntimeOptions } from '../../../../lib/index.js';
import type { NumbersItem, NumbersRequest } from '../worker-protocol.js';
import { emit } from './lines.js';

const { path, runtime: options } = JSON.parse(process.argv[2] ?? '') as { path: string; runtime: RuntimeOptions };
const runtime = await DistributedRuntime.create(options);
const client = await runtime.endpoint<NumbersRequest, NumbersItem>(path).client();
await client.waitForInstances({ timeoutMs: 10_000 });
try {
  emit('called', { items: await client.collect({ call: 1, items: 3 }, { timeoutMs: 15_000 }) });
} catch (error) {
  emit('called', { code: DynamoError.is(error) ? error.code : String(error), message: String(error) });
}
await runtime.close({ timeoutMs: 2000 });
