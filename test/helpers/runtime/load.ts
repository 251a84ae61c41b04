import { setImmediate as turn } from 'node:timers/promises';

import { type Client, DistributedRuntime, DynamoError, type RequestOptions } from 'dynamo-node';

import { Child } from '../child.js';
import { randomNumbers } from '../random.js';
import { type End, History } from './history.js';
import type { NumbersItem, NumbersRequest } from './worker-protocol.js';

export interface LoadOptions {
  /** The folder of discovery. */
  readonly folder: string;
  readonly calls: number;
  /** How often a worker is replaced during the run. Workers are killed and terminated in turn. */
  readonly losses: number;
  readonly concurrency: number;
  readonly seed: number;
}

export interface LoadReport {
  readonly history: History;
  /** Ends that no rule allows. */
  readonly surprises: readonly string[];
  /** Calls that failed because a worker was lost. */
  readonly lost: number;
  readonly losses: number;
  /** The sums of the counts of workers that closed regularly. */
  readonly handlers: { readonly accepted: number; readonly ended: number };
  readonly seconds: number;
}

type Kind = 'stream' | 'unary' | 'retried' | 'fails' | 'left' | 'aborted' | 'stopped' | 'late';

/** Shares of the kinds of calls, in percent. */
const SHARES: readonly [Kind, number][] = [
  ['stream', 40],
  ['unary', 15],
  ['retried', 8],
  ['fails', 15],
  ['left', 8],
  ['aborted', 6],
  ['stopped', 6],
  ['late', 2],
];

const MOST_ITEMS = 24;
const DEADLINE_MS = 60;

interface Plan {
  readonly kind: Kind;
  readonly request: NumbersRequest;
  /** The item at which the plan acts. */
  readonly at: number;
}

function plan(call: number, next: () => number): Plan {
  let left = next() * 100;
  const kind = SHARES.find(([, share]) => (left -= share) < 0)?.[0] ?? 'stream';
  const items = kind === 'unary' ? 1 : 1 + Math.floor(next() * MOST_ITEMS);
  const at = Math.floor(next() * items);
  if (kind === 'fails') return { kind, at, request: { call, items, failAt: at } };
  if (kind === 'late') return { kind, at, request: { call, items, hangAt: at } };
  return { kind, at, request: { call, items } };
}

class Abort extends Error {}

const isLoss = (error: unknown): boolean =>
  DynamoError.is(error) && error.code === 'DYN_UNAVAILABLE' && error.reason !== '';

/** The error that a plan expects, if this is it. */
function isPlanned({ kind, at }: Plan, error: unknown, seen: number): boolean {
  if (kind === 'aborted') return error instanceof Abort;
  if (!DynamoError.is(error)) return false;
  if (kind === 'fails') return error.code === 'DYN_NOT_FOUND' && seen === at;
  return kind === 'late' && error.code === 'DYN_DEADLINE_EXCEEDED';
}

class Load {
  readonly history = new History();
  readonly surprises: string[] = [];
  lost = 0;

  constructor(
    private readonly client: Client<NumbersRequest, NumbersItem>,
    private readonly options: LoadOptions,
  ) {}

  async call(one: Plan): Promise<void> {
    const { call, items } = one.request;
    this.history.started(call, items);
    let seen = 0;
    const item = ({ call: owner, index }: NumbersItem): void => {
      seen += 1;
      this.history.item(call, owner, index);
    };
    let end: End;
    try {
      if (one.kind === 'unary') item(await this.client.unary(one.request));
      else await this.#stream(one, item);
      end = seen === items || one.kind === 'stream' || one.kind === 'retried' ? 'whole' : 'cut';
      if (one.kind === 'fails' || one.kind === 'late') this.#surprise(one, 'ended without its error');
    } catch (error) {
      end = error instanceof Abort ? 'cut' : 'failed';
      if (isLoss(error) && this.options.losses > 0) this.lost += 1;
      else if (!isPlanned(one, error, seen)) this.#surprise(one, error);
    }
    this.history.ended(call, end);
  }

  async #stream({ kind, at, request }: Plan, item: (item: NumbersItem) => void): Promise<void> {
    const controller = kind === 'aborted' ? new AbortController() : undefined;
    const options: RequestOptions = {
      ...(controller === undefined ? {} : { signal: controller.signal }),
      ...(kind === 'late' ? { timeoutMs: DEADLINE_MS } : {}),
      ...(kind === 'retried' ? { attempts: 5 } : {}),
    };
    const stream = this.client.generate(request, options);
    try {
      for (let seen = 0; ; seen++) {
        if (seen === at && kind === 'aborted') controller?.abort(new Abort());
        if (seen === at && kind === 'stopped') stream.stop();
        if (seen === at && kind === 'left') return void (await stream.return());
        const { done, value } = await stream.next();
        if (done === true) return;
        item(value);
      }
    } finally {
      await this.#probe(request.call, stream, item);
    }
  }

  /** Reads after the end, where no item may come. */
  async #probe(call: number, stream: AsyncIterator<NumbersItem>, item: (item: NumbersItem) => void): Promise<void> {
    try {
      const { done, value } = await stream.next();
      if (done === true) return;
      this.history.ended(call, 'cut');
      item(value);
    } catch {
      this.history.ended(call, 'failed');
    }
  }

  #surprise({ kind, request }: Plan, what: unknown): void {
    const text = DynamoError.is(what) ? `${what.code} ${what.kind} ${what.reason}: ${what.message}` : String(what);
    if (this.surprises.length < 20) this.surprises.push(`${kind} ${JSON.stringify(request)}: ${text}`);
  }
}

/** Workers of one endpoint in separate processes, of which some are lost during the run. */
class Workers {
  readonly #all: Child[] = [];
  #losses = 0;

  constructor(
    private readonly path: string,
    private readonly folder: string,
  ) {}

  start(): Child {
    const runtime = { discovery: { kind: 'file', dir: this.folder }, host: '127.0.0.1' };
    const child = Child.program('test/helpers/runtime/programs/worker.ts', [
      JSON.stringify({ path: this.path, runtime, closeTimeoutMs: 5000 }),
    ]);
    this.#all.push(child);
    return child;
  }

  /** Ends the oldest worker, with SIGKILL every other time, and starts a new one. */
  async lose(): Promise<void> {
    const running = this.#all.filter((child) => child.isRunning);
    const successor = this.start();
    await successor.event('ready');
    running[0]?.kill(this.#losses++ % 2 === 0 ? 'SIGKILL' : 'SIGTERM');
    await running[0]?.exit(60_000);
  }

  async close(): Promise<LoadReport['handlers']> {
    for (const child of this.#all) if (child.isRunning) child.kill('SIGTERM');
    for (const child of this.#all) await child.exit(60_000);
    const closed = this.#all.flatMap((child) => child.events.filter(({ event }) => event === 'closed'));
    const sum = (...names: string[]): number =>
      closed.flatMap((event) => names.map((name) => event[name] as number)).reduce((a, b) => a + b, 0);
    return { accepted: sum('accepted'), ended: sum('whole', 'failed', 'cut') };
  }

  async stop(): Promise<void> {
    await Promise.all(this.#all.map((child) => child.stop()));
  }
}

/** Calls two workers many times, in every kind of call, while workers are lost. */
export async function load(options: LoadOptions): Promise<LoadReport> {
  const { folder, calls, losses, concurrency, seed } = options;
  const path = 'history.worker.numbers';
  const workers = new Workers(path, folder);
  const runtime = await DistributedRuntime.create({ discovery: { kind: 'file', dir: folder }, host: '127.0.0.1' });
  try {
    await Promise.all([workers.start(), workers.start()].map((child) => child.event('ready')));
    const client = await runtime.endpoint<NumbersRequest, NumbersItem>(path).client();
    await client.waitForInstances({ count: 2, timeoutMs: 20_000 });

    const started = performance.now();
    const run = new Load(client, options);
    const next = randomNumbers(seed);
    let dispatched = 0;
    let losing: Promise<void> = Promise.resolve();
    let asked = 0;
    const lane = async (): Promise<void> => {
      while (dispatched < calls) {
        const call = dispatched++;
        if (asked < losses && call >= ((asked + 1) * calls) / (losses + 1)) {
          asked += 1;
          losing = losing.then(() => workers.lose());
        }
        await run.call(plan(call, next));
        if (call % 64 === 0) await turn();
      }
    };
    await Promise.all(Array.from({ length: concurrency }, lane));
    await losing;
    const seconds = (performance.now() - started) / 1000;
    await client.close();
    const handlers = await workers.close();
    return { history: run.history, surprises: run.surprises, lost: run.lost, losses: asked, handlers, seconds };
  } finally {
    await workers.stop();
    await runtime.close({ timeoutMs: 5000 });
  }
}

/** A one-line summary of the run. */
export function summary({ history, lost, losses, seconds }: LoadReport, seed: number): string {
  const { whole, cut, failed } = history.ends;
  return (
    `${history.count} calls in ${seconds.toFixed(1)} s (seed ${seed}): ${whole} complete, ${cut} cancelled, ` +
    `${failed} failed, ${lost} of them with a lost worker; ${losses} workers lost`
  );
}
