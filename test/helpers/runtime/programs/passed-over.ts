/** passed-over.ts RUNTIME PATH CALLS: on command, calls CALLS times in sequence and reports the number of failures. */
import { DistributedRuntime, DynamoError, type RuntimeOptions } from '../../../../lib/index.js';
import type { NumbersItem, NumbersRequest } from '../worker-protocol.js';
import { commands, emit } from './lines.js';

const [options, path, count] = process.argv.slice(2) as [string, string, string];
const runtime = await DistributedRuntime.create(JSON.parse(options) as RuntimeOptions);
const client = await runtime.endpoint<NumbersRequest, NumbersItem>(path).client();
await client.waitForInstances({ count: 2, timeoutMs: 20_000 });
emit('ready');
for await (const _ of commands()) {
  const codes: string[] = [];
  for (let call = 0; call < Number(count); call++) {
    await client
      .unary({ call, items: 1 })
      .catch((error: unknown) => codes.push(DynamoError.is(error) ? error.code : String(error)));
  }
  emit('called', { codes, instances: (await client.instances()).length });
}
await client.close();
await runtime.close({ timeoutMs: 5000 });
