import { createHash } from 'node:crypto';

import { Annotated, type Client, type DistributedRuntime, DynamoError } from 'dynamo-node';

import { randomNumbers } from '../random.js';
import { waitFor } from '../wait.js';
import type { Frame } from './raw-caller.js';
import type { Recorded } from './tap.js';

type Kind = 'unary' | 'stream' | 'annotated' | 'fails' | 'killed' | 'stopped' | 'left';
const KINDS: readonly Kind[] = ['unary', 'unary', 'stream', 'annotated', 'fails', 'killed', 'stopped', 'left'];

/** A call that any plane must carry with the same bytes. */
export interface PlannedCall {
  readonly id: string;
  readonly kind: Kind;
  /** The sizes of the items. */
  readonly sizes: readonly number[];
  readonly value: unknown;
}

const ENDPOINT = 'planes.worker.calls';

/** Calls of all kinds, the same for the same seed. Most are small, and some have megabytes. */
export function plannedCalls(count: number, seed: number): PlannedCall[] {
  const next = randomNumbers(seed);
  const below = (limit: number): number => Math.floor(next() * limit);
  const size = (): number => (below(50) === 0 ? below(2 << 20) : below(10) === 0 ? below(64 << 10) : below(300));
  return Array.from({ length: count }, (_, index) => {
    const kind = KINDS[below(KINDS.length)] as Kind;
    const mayBeEmpty = kind === 'stream' || kind === 'annotated' || kind === 'fails';
    const sizes = Array.from({ length: kind === 'unary' ? 1 : mayBeEmpty ? below(12) : 1 + below(12) }, size);
    const value = [null, below(2 ** 32), -below(100), next(), 'ü'.repeat(below(40)), [1, [2, { a: below(9) }]]][
      below(6)
    ];
    return { id: `call-${index}`, kind, sizes, value };
  });
}

/** Serves the planned calls. */
export async function serveCalls(runtime: DistributedRuntime): Promise<void> {
  const endpoint = runtime.endpoint<PlannedCall, unknown>(ENDPOINT);
  await endpoint.serve(async function* ({ kind, sizes, value }, { signal }) {
    for (const [index, size] of sizes.entries()) {
      const item = { index, value, text: 'x'.repeat(size) };
      yield kind === 'annotated' ? new Annotated({ data: item, id: `${index}`, comments: ['one', 'two'] }) : item;
    }
    if (kind === 'fails') throw new DynamoError('NotFound', 'no such thing', { reason: 'request.not_found' });
    if (kind === 'annotated') yield new Annotated({ event: 'done' });
    const waits = kind === 'killed' || kind === 'stopped' || kind === 'left';
    if (waits && !signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve));
  });
}

export async function callsClient(runtime: DistributedRuntime): Promise<Client<PlannedCall, unknown>> {
  const client = await runtime.endpoint<PlannedCall, unknown>(ENDPOINT).client();
  await client.waitForInstances({ timeoutMs: 30_000 });
  return client;
}

const digest = (value: unknown): string =>
  createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);

/** Makes a call, and returns what its caller sees of it. */
async function outcomeOf(client: Client<PlannedCall, unknown>, call: PlannedCall): Promise<string> {
  const seen: unknown[] = [];
  const controller = new AbortController();
  try {
    if (call.kind === 'unary') return `value ${digest(await client.unary(call, { id: call.id }))}`;
    if (call.kind === 'annotated') {
      for await (const { data, id, event, comments } of client.generateAnnotated(call, { id: call.id }))
        seen.push({ data, id, event, comments });
      return `whole ${digest(seen)}`;
    }
    const stream = client.generate(call, { id: call.id, signal: controller.signal });
    while (call.kind !== 'left' || seen.length < call.sizes.length) {
      if (call.kind === 'killed' && seen.length === call.sizes.length) controller.abort();
      if (call.kind === 'stopped' && seen.length === call.sizes.length) stream.stop();
      const { done, value } = await stream.next();
      if (done === true) break;
      seen.push(value);
    }
    if (call.kind === 'left') await stream.return();
    return `${call.kind === 'stream' ? 'whole' : 'cut'} ${digest(seen)}`;
  } catch (error) {
    const { code, reason, message } = error as DynamoError;
    return `${code ?? (error as Error).name} ${reason} ${message} after ${digest(seen)}`;
  }
}

/** Makes all calls, some at the same time, and returns what their callers see. */
export async function makeCalls(
  client: Client<PlannedCall, unknown>,
  calls: readonly PlannedCall[],
): Promise<ReadonlyMap<string, string>> {
  const outcomes = new Map<string, string>();
  const waiting = [...calls];
  const lane = async (): Promise<void> => {
    for (let call = waiting.shift(); call !== undefined; call = waiting.shift())
      outcomes.set(call.id, await outcomeOf(client, call));
  };
  await Promise.all(Array.from({ length: 8 }, lane));
  return outcomes;
}

const shownFrame = ({ header, data }: Frame): string =>
  header === '' ? `${data.length} bytes ${createHash('sha256').update(data).digest('hex').slice(0, 16)}` : header;

/**
 * One line a frame, of all that went over the wire for a call. On every plane, a caller that reads an error leaves in a
 * race with the frames after it. The crates may send a stop before a kill, which changes nothing.
 */
function shown({ headers, control, payload, ...sent }: Recorded, { kind, sizes }: PlannedCall): string[] {
  const toCaller = kind === 'fails' ? sent.toCaller.slice(0, 3 + sizes.length) : sent.toCaller;
  const isStop = ({ header }: Frame): boolean => header === '"stop"';
  const toWorker = kind === 'fails' ? [] : sent.toWorker.filter((one) => kind === 'stopped' || !isStop(one));
  return [
    `headers ${JSON.stringify(headers)}`,
    `control ${JSON.stringify(control)}`,
    `payload ${payload.length} bytes ${createHash('sha256').update(payload).digest('hex').slice(0, 16)}`,
    ...toCaller.map((one) => `to the caller: ${shownFrame(one)}`),
    ...toWorker.map((one) => `to the worker: ${shownFrame(one)}`),
  ];
}

/** The recorded frames of the calls. It waits for the last ones, which may follow the end of a call. */
export async function framesOf(
  recorded: ReadonlyMap<string, Recorded>,
  calls: readonly PlannedCall[],
): Promise<ReadonlyMap<string, readonly string[]>> {
  const isOver = ({ id, kind, sizes }: PlannedCall): boolean => {
    const one = recorded.get(id);
    if (one === undefined) return false;
    if (kind === 'fails') return one.toCaller.length >= 3 + sizes.length;
    if (kind === 'killed' || kind === 'left') return one.toWorker.some(({ header }) => header === '"kill"');
    return kind === 'stopped' ? one.toWorker.length > 0 : one.toCaller.at(-1)?.header === '"sentinel"';
  };
  await waitFor(
    'the last frames',
    () => calls.filter((call) => !isOver(call)).map(({ id, kind }) => `${id} ${kind}`),
    ({ length }) => length === 0,
    30_000,
  );
  return new Map(calls.map((call) => [call.id, shown(recorded.get(call.id) as Recorded, call)]));
}
