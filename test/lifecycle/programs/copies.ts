import { pathToFileURL } from 'node:url';

import * as one from '../../../lib/index.js';
import { emit } from '../../helpers/runtime/programs/lines.js';

const [copy = '', dir = ''] = process.argv.slice(2);
const other = (await import(pathToFileURL(copy).href)) as typeof one;

const options = { discovery: { kind: 'file', dir }, host: '127.0.0.1' } as const;
const runtimes = [await one.DistributedRuntime.create(options), await other.DistributedRuntime.create(options)];
const endpoint = 'copies.worker.generate';
for (const [index, runtime] of runtimes.entries()) {
  await runtime.endpoint<string, string>(endpoint).serve((value) => {
    if (value === 'fail') throw new one.DynamoError('NotFound', 'not here', { reason: 'request.not_found' });
    return `${value} from ${index}`;
  });
}

for (const [index, runtime] of runtimes.entries()) {
  const client = await runtime.endpoint<string, string>(endpoint).client();
  await client.waitForInstances({ count: 2, timeoutMs: 10_000 });
  const answers = await Promise.all(runtimes.map(({ instanceId }) => client.unary('hello', { instanceId })));
  const errors = await Promise.all(
    runtimes.map(({ instanceId }) => client.unary('fail', { instanceId }).catch((error: unknown) => error)),
  );
  emit('answers', {
    index,
    answers,
    isError: errors.map(
      (error) => one.DynamoError.is(error) && other.DynamoError.is(error) && error.code === 'DYN_NOT_FOUND',
    ),
  });
}

for (const runtime of runtimes) await runtime.close();
emit('done', { isDistinct: one.DistributedRuntime !== other.DistributedRuntime });
