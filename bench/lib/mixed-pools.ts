import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { RouterOptions } from 'dynamo-node';
import { MixedClient, type MixedKinds, type MixedSample, mixedArrivals } from './mixed-load.js';
import { Peer } from './peer.js';
import type { Row } from './result.js';
import { ratio, round, type Spread, spread } from './stats.js';

/** The same number of workers each. */
export const DEPLOYMENTS = ['aggregated', 'disaggregated', 'conditional'] as const;
export type DeploymentName = (typeof DEPLOYMENTS)[number];
type Role = 'aggregated' | 'prefill' | 'decode';

const ROLES: Readonly<Record<DeploymentName, readonly Role[]>> = {
  aggregated: ['aggregated', 'aggregated'],
  disaggregated: ['prefill', 'decode'],
  conditional: ['prefill', 'decode'],
};

const MODEL = 'served';
const BLOCK_SIZE = 64;

/** Workers of one kind, and a load that they can take. */
export interface MixedPool {
  readonly name: string;
  readonly kinds: MixedKinds;
  /** The policy of the conditional deployment. */
  readonly conditional: NonNullable<RouterOptions['kv']>;
  /** Chats that are answered at a time, on average. */
  readonly concurrentChats: number;
  /** The part of the time in which one worker would prefill the long prompts alone. */
  readonly longShare: number;
  readonly seconds: number;
  start(role: Role, dir: string, folder: string): Peer;
}

export const MOCKERS: MixedPool = {
  name: 'mocker',
  kinds: {
    chat: { groups: 8, sharedTokens: 512, uniqueTokens: 64, answerTokens: 48 },
    long: { groups: 0, sharedTokens: 0, uniqueTokens: 4096, answerTokens: 16 },
  },
  // The decode workers of the mocker publish no KV events: the router does not know what they have cached.
  conditional: {
    conditional_disagg_policy: 'prefill_load',
    conditional_disagg_prefill_busy_threshold: 0.25,
  },
  concurrentChats: 6,
  longShare: 0.35,
  seconds: 6,
  start(role, dir, folder) {
    const model = ['--model-path', join(folder, 'model'), '--model-name', MODEL];
    const mode = ['--disaggregation-mode', role === 'aggregated' ? 'agg' : role];
    const cache = ['--block-size', String(BLOCK_SIZE), '--num-gpu-blocks-override', '4096', '--speedup-ratio', '1'];
    return Peer.pythonModule(`mocker ${role}`, dir, 'dynamo.mocker', ...model, ...mode, ...cache);
  },
};

export const LLAMAS: MixedPool = {
  name: 'tiny Llama',
  kinds: {
    chat: { groups: 4, sharedTokens: 128, uniqueTokens: 16, answerTokens: 24 },
    long: { groups: 0, sharedTokens: 0, uniqueTokens: 1024, answerTokens: 8 },
  },
  conditional: {
    conditional_disagg_policy: 'isl_bounding',
    conditional_disagg_eff_isl_threshold: 128,
  },
  concurrentChats: 0.5,
  longShare: 0.3,
  seconds: 12,
  start: (role, dir) =>
    Peer.node(`llama ${role}`, dir, 'disagg.mjs', 'llama', role, MODEL, 'llama', String(BLOCK_SIZE), '1024'),
};

interface Deployed {
  readonly name: DeploymentName;
  readonly workers: readonly Peer[];
  readonly frontend: Peer;
}

function deploy(pool: MixedPool, name: DeploymentName, folder: string): Deployed {
  const dir = join(folder, `${pool.name.replaceAll(' ', '-')}-${name}`);
  mkdirSync(dir);
  const kv = name === 'conditional' ? { conditional_disagg_enabled: true, ...pool.conditional } : {};
  const router: RouterOptions = { mode: 'kv', kv };
  return {
    name,
    workers: ROLES[name].map((role) => pool.start(role, dir, folder)),
    frontend: Peer.node(`frontend ${name}`, dir, 'routing.mjs', JSON.stringify(router)),
  };
}

export interface MixedFigures {
  readonly pool: MixedPool;
  readonly seconds: number;
  /** Requests per second. */
  readonly rates: { readonly chat: number; readonly long: number };
  readonly samples: ReadonlyMap<DeploymentName, readonly MixedSample[]>;
}

/** Runs the same requests against all deployments of a pool, in turn. */
export async function measureMixed(pool: MixedPool, folder: string, quick: boolean): Promise<MixedFigures> {
  const [rounds, seconds, warmUp] = quick ? [1, 1, 1] : [3, pool.seconds, 12];
  const deployed = DEPLOYMENTS.map((name) => deploy(pool, name, folder));
  const samples = new Map<DeploymentName, MixedSample[]>(DEPLOYMENTS.map((name) => [name, []]));
  try {
    const clients: [DeploymentName, MixedClient][] = [];
    for (const { name, workers, frontend } of deployed) {
      const client = new MixedClient(Number((await frontend.started())['port']), MODEL, pool.kinds);
      await client.waitUntilServed(() => workers.map(({ log }) => log).join('\n'));
      // Every group is cached, and the workers are connected.
      await client.alone('chat', warmUp);
      clients.push([name, client]);
    }
    const [[, aggregated]] = clients as [[DeploymentName, MixedClient]];
    const rates = {
      chat: (1000 * pool.concurrentChats) / (await aggregated.alone('chat', quick ? 1 : 5)).totalMs,
      long: (1000 * pool.longShare) / (await aggregated.alone('long', quick ? 1 : 5)).ttftMs,
    };
    for (let index = 0; index < rounds; index++) {
      const plan = mixedArrivals(100 + index, rates, seconds);
      for (let turn = 0; turn < clients.length; turn++) {
        const [name, client] = clients[(turn + index) % clients.length] as [DeploymentName, MixedClient];
        samples.get(name)?.push(await client.run(plan));
      }
    }
    return { pool, seconds, rates: { chat: round(rates.chat), long: round(rates.long) }, samples };
  } finally {
    for (const { frontend } of deployed) await frontend.stop();
    for (const { workers } of deployed) for (const worker of workers) await worker.terminate();
  }
}

export const MIXED_FIELDS = {
  chatTtftMs: 'chats: mean time to first token, ms',
  chatTtftP99Ms: 'chats: time to first token, p99, ms',
  chatGapMs: 'chats: mean time between tokens, ms',
  chatGapP99Ms: 'chats: time between tokens, p99, ms',
  longTtftMs: 'long prompts: mean time to first token, ms',
} as const satisfies Partial<Record<keyof MixedSample, string>>;
export type MixedField = keyof typeof MIXED_FIELDS;

/** A figure of a deployment. */
export const mixedSpread = ({ samples }: MixedFigures, name: DeploymentName, field: MixedField): Spread =>
  spread((samples.get(name) ?? []).map((sample) => sample[field]));

/** How many times the figure of the aggregated deployment, round by round. */
function timesAggregated({ samples }: MixedFigures, name: DeploymentName, field: MixedField): Spread {
  const of = (one: DeploymentName): number[] => (samples.get(one) ?? []).map((sample) => sample[field]);
  return ratio(of(name), of('aggregated'));
}

export function mixedRows(figures: MixedFigures): Row[] {
  return (Object.keys(MIXED_FIELDS) as MixedField[]).map((field) => ({
    what: `${figures.pool.name}, ${MIXED_FIELDS[field]}`,
    cells: DEPLOYMENTS.map((name) => {
      const { median, min, max } = mixedSpread(figures, name, field);
      const times = name === 'aggregated' ? '' : `; ${timesAggregated(figures, name, field).median} times`;
      return `${median} (${min} to ${max})${times}`;
    }),
  }));
}
