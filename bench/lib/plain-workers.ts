import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Peer } from './peer.js';
import type { Goal, Row } from './result.js';
import { ratio, type Spread, spread } from './stats.js';

/** A prefill and a decode worker of each kind, behind one frontend. */
const KINDS = ['plain', 'empty', 'mocker'] as const;
type Kind = (typeof KINDS)[number];
const LABELS: Readonly<Record<Kind, string>> = {
  plain: 'TypeScript that hands blocks over',
  empty: 'TypeScript that hands nothing over',
  mocker: 'the Python mocker, which hands nothing over',
};

const CONCURRENCIES = [1, 32];
const TOKENS = 32;
const BLOCK_SIZE = 16;
const PROMPT = 'What is a block of the KV cache, and who keeps it? '.repeat(16).trim();
const SETTINGS = { rounds: 3, warmUpMs: 300, ms: 1500 };
const QUICK = { rounds: 1, warmUpMs: 50, ms: 150 };
const MODEL_TIMEOUT_MS = 60_000;

interface Sample {
  readonly calls: number;
  readonly seconds: number;
  readonly firstP50Ms: number;
}

export interface PlainFigure {
  readonly concurrency: number;
  readonly requestsPerSecond: Readonly<Record<Kind, Spread>>;
  readonly firstP50Ms: Readonly<Record<Kind, Spread>>;
  /** The rate as a multiple of that of the mocker. */
  readonly overMocker: Readonly<Record<Kind, Spread>>;
}

function start(kind: Kind, role: 'prefill' | 'decode', dir: string, folder: string): Peer {
  if (kind !== 'mocker')
    return Peer.node(`${kind} ${role}`, dir, 'disagg.mjs', kind, role, kind, kind, String(BLOCK_SIZE), '4096');
  const component = role === 'prefill' ? 'prefill' : 'backend';
  const args = ['--model-path', join(folder, 'model'), '--model-name', kind, '--disaggregation-mode', role];
  const endpoint = ['--endpoint', `dyn://${kind}.${component}.generate`];
  const speed = ['--speedup-ratio', '1000000', '--block-size', String(BLOCK_SIZE)];
  return Peer.pythonModule(`mocker ${role}`, dir, 'dynamo.mocker', ...args, ...endpoint, ...speed);
}

/** Streaming chats through a prefill and a decode worker that compute nothing. */
export async function measurePlain(folder: string, quick: boolean): Promise<PlainFigure[]> {
  const { rounds, warmUpMs, ms } = quick ? QUICK : SETTINGS;
  const dir = join(folder, 'plain');
  mkdirSync(dir);
  const workers = KINDS.flatMap((kind) =>
    (['prefill', 'decode'] as const).map((role) => start(kind, role, dir, folder)),
  );
  const frontend = Peer.node('frontend', dir, 'frontend.mjs');
  const peers = [frontend];
  try {
    const { url } = (await frontend.started()) as { url: string };
    const caller = Peer.node('caller', dir, 'chat.mjs', url);
    peers.push(caller);
    await caller.started();
    const chat = (kind: Kind, concurrency: number, length: number): Promise<Sample> =>
      caller.call({
        model: kind,
        tokens: TOKENS,
        prompt: PROMPT,
        concurrency,
        keepAlive: true,
        warmUpMs: length / 5,
        ms: length,
      });
    for (const kind of KINDS) await untilAnswered(() => chat(kind, 1, warmUpMs), workers);
    const figures: PlainFigure[] = [];
    for (const concurrency of CONCURRENCIES) {
      const samples: Record<Kind, Sample[]> = { plain: [], empty: [], mocker: [] };
      for (let round = 0; round < rounds; round++)
        for (let turn = 0; turn < KINDS.length; turn++) {
          const kind = KINDS[(turn + round) % KINDS.length] as Kind;
          samples[kind].push(await chat(kind, concurrency, ms));
        }
      const ofEach = <T>(value: (kind: Kind) => T) =>
        Object.fromEntries(KINDS.map((kind) => [kind, value(kind)])) as Record<Kind, T>;
      const rates = ofEach((kind) => samples[kind].map(({ calls, seconds }) => calls / seconds));
      figures.push({
        concurrency,
        requestsPerSecond: ofEach((kind) => spread(rates[kind])),
        firstP50Ms: ofEach((kind) => spread(samples[kind].map(({ firstP50Ms }) => firstP50Ms))),
        overMocker: ofEach((kind) => ratio(rates[kind], rates.mocker)),
      });
    }
    return figures;
  } finally {
    await Promise.all([...peers.map((peer) => peer.stop()), ...workers.map((peer) => peer.terminate())]);
  }
}

async function untilAnswered(ask: () => Promise<unknown>, workers: readonly Peer[]): Promise<void> {
  for (const deadline = Date.now() + MODEL_TIMEOUT_MS; ; ) {
    const error = await ask().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    if (error === undefined) return;
    if (Date.now() > deadline) throw new Error(`${String(error)}\n${workers.map(({ log }) => log).join('\n')}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

export function plainRows(figures: readonly PlainFigure[]): Row[] {
  return figures.flatMap(({ concurrency, requestsPerSecond, firstP50Ms, overMocker }) =>
    KINDS.map((kind) => {
      const { median, min, max } = overMocker[kind];
      return {
        what: `1P1D without a model x ${concurrency}, ${LABELS[kind]}: requests/s, first token in ms, times the mocker`,
        cells: [
          String(requestsPerSecond[kind].median),
          String(firstP50Ms[kind].median),
          kind === 'mocker' ? '' : `${median} (${min} to ${max})`,
        ],
      };
    }),
  );
}

export function plainGoals(figures: readonly PlainFigure[]): Goal[] {
  return (['empty', 'plain'] as const).map((kind) => {
    const least = Math.min(...figures.map(({ overMocker }) => overMocker[kind].median));
    return {
      goal: `${LABELS[kind]}: not slower than ${LABELS.mocker}, behind the same frontend`,
      got: `at least ${least} times its requests per second`,
      met: least >= 1,
    };
  });
}
