import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Peer, pythonMissing, root } from './lib/peer.js';
import type { Bench, Effort, Row } from './lib/result.js';
import { ratio, type Spread, spread } from './lib/stats.js';
import { withMockerVocabulary } from './lib/vocabulary.js';

type Worker = 'typescript' | 'python' | 'mocker';

const LABELS: Record<Worker, string> = { typescript: 'TypeScript worker', python: 'Python worker', mocker: 'mocker' };

interface Case {
  /** Concurrency of the closed loop, or of the warm-up of an open loop. */
  readonly concurrency: number;
  /** Requests per second of an open loop. All workers can serve this rate, so no queue grows. */
  readonly rate?: number;
  /** Reuse connections, as most clients do. If false, each request opens its own. */
  readonly keepAlive: boolean;
}

interface Sample {
  readonly calls: number;
  /** Tokens. */
  readonly items: number;
  readonly seconds: number;
  readonly firstP50Ms: number;
  readonly firstP99Ms: number;
}

interface Figure extends Case {
  readonly worker: Worker;
  readonly requestsPerSecond: Spread;
  readonly tokensPerSecond: Spread;
  readonly firstP50Ms: Spread;
  readonly firstP99Ms: Spread;
  readonly typescriptOverThis: Spread;
}

const CASES: readonly Case[] = [
  { concurrency: 1, keepAlive: false },
  { concurrency: 1, keepAlive: true },
  { concurrency: 32, keepAlive: false },
  { concurrency: 8, rate: 50, keepAlive: false },
];
const TOKENS = 64;
const PROMPT = 'What is a block of the KV cache, and who keeps it? '.repeat(4).trim();
const SETTINGS = { rounds: 3, warmUpMs: 400, ms: 2000 };
const QUICK = { rounds: 1, warmUpMs: 50, ms: 150 };
const MODEL_TIMEOUT_MS = 60_000;

/** Why the library cannot serve a model, or undefined if it can. */
async function reasonToSkip(): Promise<string | undefined> {
  const library = (await import('dynamo-node')) as Record<string, unknown>;
  const missing = ['Frontend', 'serveEngine'].filter((name) => library[name] === undefined);
  return missing.length === 0 ? undefined : `dist/ does not export ${missing.join(' or ')}`;
}

async function waitForModels(url: string, workers: ReadonlyMap<Worker, Peer>): Promise<void> {
  const deadline = Date.now() + MODEL_TIMEOUT_MS;
  for (;;) {
    const { data } = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string }[] };
    const served = data.map(({ id }) => id);
    const missing = [...workers].filter(([name]) => !served.includes(name));
    if (missing.length === 0) return;
    if (Date.now() > deadline)
      throw new Error(missing.map(([name, { log }]) => `the model of worker ${name} is missing:\n${log}`).join('\n'));
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function startWorkers(dir: string, folder: string): Map<Worker, Peer> {
  const model = `${root}examples/tiny-llama/model`;
  const workers = new Map<Worker, Peer>([
    ['typescript', Peer.node('typescript worker', dir, 'worker.mjs', model, 'typescript')],
  ]);
  if (pythonMissing !== undefined) return workers;
  workers.set('python', Peer.python('python worker', dir, 'worker.py', model, 'python'));
  const args = [
    '--model-path',
    withMockerVocabulary(model, folder),
    '--model-name',
    'mocker',
    '--endpoint',
    'dyn://mocker.backend.generate',
    '--speedup-ratio',
    '1000000',
  ];
  return workers.set('mocker', Peer.pythonModule('mocker', dir, 'dynamo.mocker', ...args));
}

async function measureAll(caller: Peer, workers: readonly Worker[], { quick }: Effort): Promise<Figure[]> {
  const { rounds, warmUpMs, ms } = quick ? QUICK : SETTINGS;
  const figures: Figure[] = [];
  for (const one of CASES) {
    const samplesOf = new Map<Worker, Sample[]>(workers.map((worker) => [worker, []]));
    for (let round = 0; round < rounds; round++) {
      for (let index = 0; index < workers.length; index++) {
        const worker = workers[(index + round) % workers.length] as Worker;
        samplesOf
          .get(worker)
          ?.push(await caller.call<Sample>({ model: worker, tokens: TOKENS, prompt: PROMPT, ...one, warmUpMs, ms }));
      }
    }
    const rates = (worker: Worker): number[] =>
      (samplesOf.get(worker) as Sample[]).map(({ calls, seconds }) => calls / seconds);
    for (const [worker, samples] of samplesOf) {
      figures.push({
        ...one,
        worker,
        requestsPerSecond: spread(rates(worker)),
        tokensPerSecond: spread(samples.map(({ items, seconds }) => items / seconds)),
        firstP50Ms: spread(samples.map(({ firstP50Ms }) => firstP50Ms)),
        firstP99Ms: spread(samples.map(({ firstP99Ms }) => firstP99Ms)),
        typescriptOverThis: ratio(rates('typescript'), rates(worker)),
      });
    }
  }
  return figures;
}

function label({ concurrency, rate, keepAlive }: Case): string {
  return `${rate === undefined ? `x ${concurrency}` : `${rate} per second`}${keepAlive ? ', kept connection' : ''}`;
}

function rows(figures: readonly Figure[]): Row[] {
  return figures.map(
    ({ worker, requestsPerSecond, tokensPerSecond, firstP50Ms, firstP99Ms, typescriptOverThis, ...one }) => ({
      what: `${LABELS[worker]} ${label(one)}`,
      cells: [
        String(requestsPerSecond.median),
        String(tokensPerSecond.median),
        `${firstP50Ms.median} / ${firstP99Ms.median}`,
        worker === 'typescript' ? '' : `${typescriptOverThis.median}x`,
      ],
    }),
  );
}

/** Streaming chat through one frontend with workers of each kind. */
export const frontend: Bench = async (effort) => {
  const reason = await reasonToSkip();
  if (reason !== undefined) return { skipped: reason };
  const folder = mkdtempSync(join(tmpdir(), 'dynamo-bench-'));
  const dir = join(folder, 'discovery');
  mkdirSync(dir);
  const workers = startWorkers(dir, folder);
  const server = Peer.node('frontend', dir, 'frontend.mjs');
  const peers = [server];
  try {
    const { url } = (await server.started()) as { url: string };
    const caller = Peer.node('caller', dir, 'chat.mjs', url);
    peers.push(caller);
    await Promise.all(
      [caller, ...[...workers].filter(([name]) => name !== 'mocker').map(([, peer]) => peer)].map((peer) =>
        peer.started(),
      ),
    );
    await waitForModels(url, workers);
    const figures = await measureAll(caller, [...workers.keys()], effort);
    const memory = Object.fromEntries([
      ['frontend', server.memory()],
      ...[...workers].map(([name, peer]) => [name, peer.memory()]),
    ]);
    const kinds = [...workers.keys()];
    const groups = (value: (figure: Figure) => Spread) =>
      CASES.map((one) => ({
        name: [label(one)],
        values: kinds.map(
          (kind) => figures.filter((each) => each.worker === kind && label(each) === label(one)).map(value)[0],
        ),
      }));
    const series = kinds.map((kind) => LABELS[kind]);
    return {
      settings: {
        ...(effort.quick ? QUICK : SETTINGS),
        tokens: TOKENS,
        promptCharacters: PROMPT.length,
        loop: 'closed, or open if a rate is given; drain included; median of interleaved rounds',
        mocker: 'python -m dynamo.mocker --speedup-ratio 1000000: its engine is Rust; no Python code handles a token',
        memory,
        notMeasured: pythonMissing === undefined ? {} : { python: pythonMissing, mocker: pythonMissing },
      },
      figures,
      goals: [],
      charts: [
        {
          title: `Streaming chat, ${TOKENS} tokens: requests per second`,
          logarithmic: false,
          series,
          groups: groups((one) => one.requestsPerSecond),
        },
        {
          title: 'Time to the first token, p50, ms',
          logarithmic: false,
          series,
          groups: groups((one) => one.firstP50Ms),
        },
      ],
      columns: ['requests/s', 'tokens/s', 'first token p50 / p99, ms', 'TypeScript over this'],
      rows: rows(figures),
    };
  } finally {
    await Promise.all([...peers.map((peer) => peer.stop()), ...[...workers.values()].map((peer) => peer.terminate())]);
    rmSync(folder, { recursive: true, force: true });
  }
};
