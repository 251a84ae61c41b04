import { setTimeout as after } from 'node:timers/promises';

import { closeOnSignal, DistributedRuntime, DynamoError, type RuntimeOptions } from '../../../../lib/index.js';
import type { NumbersItem, NumbersRequest } from '../worker-protocol.js';
import { emit } from './lines.js';

interface Options {
  path: string;
  runtime: RuntimeOptions;
  /** Cancels the handlers that still run this long after the signal. */
  closeTimeoutMs?: number;
}

const { path, runtime: options, closeTimeoutMs } = JSON.parse(process.argv[2] ?? '') as Options;

const counts = { accepted: 0, whole: 0, failed: 0, cut: 0 };
/** The calls in flight by their number, with their current item. */
const running = new Map<number, { request: NumbersRequest; at: number; isAborted: () => boolean }>();
const runtime = await DistributedRuntime.create(options);
const endpoint = runtime.endpoint<NumbersRequest, NumbersItem>(path);
const { instance } = await endpoint.serve(async function* (request, { signal }) {
  const { call, items, failAt, paceMs, hangAt } = request;
  const state = { request, at: 0, isAborted: () => signal.aborted };
  running.set(call, state);
  counts.accepted += 1;
  let end: 'whole' | 'failed' | 'cut' = 'cut';
  try {
    for (let index = 0; index < items; index++) {
      state.at = index;
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
    running.delete(call);
    counts[end] += 1;
  }
});

closeOnSignal(async () => {
  const tell = setInterval(() => {
    const calls = [...running.values()]
      .slice(0, 5)
      .map(({ request, at, isAborted }) => ({ request, at, isAborted: isAborted() }));
    emit('closing', { ...counts, running: running.size, calls });
  }, 5000);
  await runtime.close(closeTimeoutMs === undefined ? {} : { timeoutMs: closeTimeoutMs });
  clearInterval(tell);
  emit('closed', counts);
});

emit('ready', { instanceId: instance.instanceId, transport: instance.transport });
