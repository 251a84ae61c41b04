import { setTimeout as after } from 'node:timers/promises';

import { closeOnSignal, DistributedRuntime, DynamoError, type RuntimeOptions } from '../../../lib/index.js';
import type { NumbersItem, NumbersRequest } from '../numbers.js';
import { emit } from './lines.js';

interface Options {
  path: string;
  runtime: RuntimeOptions;
}

const { path, runtime: options } = JSON.parse(process.argv[2] ?? '') as Options;

const counts = { accepted: 0, whole: 0, failed: 0, cut: 0 };
const runtime = await DistributedRuntime.create(options);
const endpoint = runtime.endpoint<NumbersRequest, NumbersItem>(path);
const { instance } = await endpoint.serve(async function* ({ call, items, failAt, paceMs, hangAt }, { signal }) {
  counts.accepted += 1;
  let end: 'whole' | 'failed' | 'cut' = 'cut';
  try {
    for (let index = 0; index < items; index++) {
      if (index === failAt) {
        end = 'failed';
        throw new DynamoError('NotFound', `call ${call} fails at ${index}`, { reason: 'request.not_found' });
      }
      if (index === hangAt) await after(2 ** 30, undefined, { signal }).catch(() => {});
      if (signal.aborted) return;
      if (paceMs !== undefined) await after(paceMs);
      yield { call, index };
    }
    end = 'whole';
  } finally {
    counts[end] += 1;
  }
});

closeOnSignal(async () => {
  await runtime.close();
  emit('closed', counts);
});

emit('ready', { instanceId: instance.instanceId, transport: instance.transport });
