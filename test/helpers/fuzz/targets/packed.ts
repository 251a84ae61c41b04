import { isDeepStrictEqual } from 'node:util';

import { type Client, DynamoError } from 'dynamo-node';

import { invoke, native } from '../../../../lib/addon/invoke.js';
import { batchFrom, type StreamItem } from '../../../../lib/addon/stream.js';
import { dataOf } from '../../../../lib/runtime/annotated.js';
import { testRuntime } from '../../runtime/runtime.js';
import { isPromised, must } from '../expectations.js';
import type { FuzzTarget } from '../harness.js';
import { referenceDecode } from '../reference-decoder.js';

const OPERATION = 'fuzz';
const TIMEOUT_MS = 30_000;

async function echo(client: Client<unknown, unknown>, payload: Uint8Array): Promise<unknown> {
  const { handle } = client as unknown as { handle(operation: string): never };
  const deadline = { ms: TIMEOUT_MS, error: () => new Error(`no answer within ${TIMEOUT_MS} ms`) };
  const parts = { handle: handle.call(client, OPERATION), payload };
  const { items, error } = batchFrom(await invoke(native.clientUnary, OPERATION, parts, { deadline }), OPERATION);
  if (error !== undefined) throw error;
  must('there is one answer', items.length === 1);
  return dataOf(items[0] as StreamItem);
}

/** The value that arrives: -0 is sent as 0. */
function asSent(value: unknown): unknown {
  if (value === 0) return 0;
  if (Array.isArray(value)) return value.map(asSent);
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, asSent(item)]));
}

/** A message of any bytes crosses the native side and the wire as it is, or its call fails with a typed error. */
export const packedTarget: FuzzTarget = {
  name: 'packed',
  concurrency: 8,
  open: async () => {
    const runtime = await testRuntime();
    const endpoint = runtime.endpoint<unknown, unknown>('fuzz.worker.packed');
    await endpoint.serve((request) => request);
    const client = await endpoint.client();
    await client.waitForInstances({ timeoutMs: TIMEOUT_MS });
    return async (input) => {
      let sent: { readonly value: unknown } | undefined;
      try {
        sent = { value: referenceDecode(input, true) };
      } catch {
        // Any typed error is right.
      }
      try {
        const got = await echo(client, input);
        must(
          'the value is that of the bytes',
          sent === undefined || isDeepStrictEqual(asSent(got), asSent(sent.value)),
        );
      } catch (error) {
        if (sent !== undefined || !(isPromised(error) || DynamoError.is(error))) throw error;
      }
    };
  },
};
