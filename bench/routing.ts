import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Peer, pythonMissing, root } from './lib/peer.js';
import type { Bench } from './lib/result.js';
import { ratio, round, spread } from './lib/stats.js';

const WORKERS = 4;
const GROUPS = 16;
const PREFIX_TOKENS = 4096;
const SUFFIX_TOKENS = 128;
const ANSWER_TOKENS = 8;
const BLOCK_SIZE = 64;
/** Of a worker: room for half of the prefixes, so that the workers together can have all and none of them alone. */
const BLOCK_COUNT = ((GROUPS / 2) * (PREFIX_TOKENS + 2 * SUFFIX_TOKENS)) / BLOCK_SIZE;
const KNEE_SHARE = 0.7;
const MODES = ['round_robin', 'kv'] as const;
const GOAL = 0.5;

type Mode = (typeof MODES)[number];

interface Run {
  readonly ttftMs: number;
  readonly p99Ms: number;
  readonly cachedShare: number;
}

/** A prompt of a group: its prefix, and an end that no other has. */
function promptOf(group: number, index: number): number[] {
  const prefix = Array.from({ length: PREFIX_TOKENS }, (_, at) => 10 + ((at * 7 + group * 131 + (at >> 6) * group) % 990));
  return [...prefix, ...Array.from({ length: SUFFIX_TOKENS }, (_, at) => 10 + ((index * 37 + at * 11) % 990))];
}

const agent = new Agent({ keepAlive: true, maxSockets: 512 });
let asked = 0;

/** In no order that a round of four would fall in step with. */
function groupOf(index: number): number {
  return (Math.imul(index + 1, 2654435761) >>> 16) % GROUPS;
}

/** Milliseconds to the first event of a streamed answer, and how much of the prompt was cached. */
async function ask(port: number): Promise<{ ms: number; cached: number }> {
  const index = asked++;
  const body = JSON.stringify({
    model: 'mocked',
    prompt: promptOf(groupOf(index), index),
    max_tokens: ANSWER_TOKENS,
    stream: true,
    stream_options: { include_usage: true },
  });
  const begin = performance.now();
  const sent = request({ agent, port, host: '127.0.0.1', path: '/v1/completions', method: 'POST', headers: { 'content-type': 'application/json' } });
  sent.end(body);
  const [response] = (await once(sent, 'response')) as [import('node:http').IncomingMessage];
  let [ms, text] = [0, ''];
  for await (const part of response) {
    if (ms === 0) ms = performance.now() - begin;
    text += String(part);
  }
  if (response.statusCode !== 200) throw new Error(`${response.statusCode} ${text}`);
  return { ms, cached: Number(/"cached_tokens":(\d+)/.exec(text)?.[1] ?? 0) };
}

/** So many under way at a time, for so many requests in all. */
async function closed(port: number, concurrency: number, requests: number): Promise<number> {
  const begin = performance.now();
  let left = requests;
  await Promise.all(Array.from({ length: concurrency }, async () => { while (left-- > 0) await ask(port); }));
  return requests / ((performance.now() - begin) / 1000);
}

/** Requests come at a rate whatever becomes of them; those that still run at the end are waited for. */
async function open(port: number, rate: number, seconds: number): Promise<Run> {
  const running: ReturnType<typeof ask>[] = [];
  const begin = performance.now();
  for (let index = 0; index < rate * seconds; index++) {
    const due = begin + (index * 1000) / rate;
    const left = due - performance.now();
    if (left > 0) await new Promise((resolve) => setTimeout(resolve, left));
    running.push(ask(port));
  }
  const all = await Promise.all(running);
  const times = all.map(({ ms }) => ms).sort((a, b) => a - b);
  return {
    ttftMs: times.reduce((sum, ms) => sum + ms, 0) / times.length,
    p99Ms: times[Math.floor(times.length * 0.99)] as number,
    cachedShare: all.reduce((sum, { cached }) => sum + cached, 0) / (all.length * (PREFIX_TOKENS + SUFFIX_TOKENS)),
  };
}

async function served(port: number, mocker: Peer): Promise<void> {
  for (const deadline = Date.now() + 60_000; ; ) {
    if (await ask(port).then(() => true, () => false)) return;
    if (Date.now() > deadline) throw new Error(`the mocker does not answer:\n${mocker.log}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Time to the first token where prompts share prefixes: by KV against round-robin, before the same workers. */
export const routing: Bench = async ({ quick }) => {
  if (pythonMissing !== undefined) return { skipped: pythonMissing };
  const [runs, seconds] = quick ? [1, 1] : [5, 8];
  const folder = mkdtempSync(join(tmpdir(), 'dynamo-bench-'));
  const model = ['--model-path', `${root}examples/tiny-llama/model`, '--model-name', 'mocked'];
  const cache = ['--block-size', String(BLOCK_SIZE), '--num-gpu-blocks-override', String(BLOCK_COUNT)];
  // A deployment a mode: what one leaves in its workers' caches is nothing to the other.
  const deployments = MODES.map((mode) => {
    const dir = join(folder, mode);
    mkdirSync(dir);
    const mocker = Peer.pythonModule('mocker', dir, 'dynamo.mocker', ...model, ...cache, '--num-workers', String(WORKERS), '--speedup-ratio', '1');
    return { mode, mocker, frontend: Peer.node(`frontend ${mode}`, dir, 'routing.mjs', mode) };
  });
  const got: Record<Mode, Run[]> = { round_robin: [], kv: [] };
  let knee = 0;
  try {
    const ports = new Map<Mode, number>();
    const port = (mode: Mode): number => ports.get(mode) as number;
    for (const { mode, mocker, frontend } of deployments) {
      ports.set(mode, Number((await frontend.started())['port']));
      await served(port(mode), mocker);
      await closed(port(mode), WORKERS, quick ? GROUPS : 4 * GROUPS);
    }
    knee = await closed(port('round_robin'), 4 * WORKERS, quick ? GROUPS : 12 * GROUPS);
    for (let run = 0; run < runs; run++) {
      for (const mode of MODES) got[mode].push(await open(port(mode), knee * KNEE_SHARE, seconds));
    }
  } finally {
    for (const { frontend } of deployments) await frontend.stop();
    for (const { mocker } of deployments) await mocker.terminate();
    agent.destroy();
    rmSync(folder, { recursive: true, force: true });
  }
  const of = (mode: Mode, field: keyof Run): number[] => got[mode].map((run) => run[field]);
  const left = ratio(of('kv', 'ttftMs'), of('round_robin', 'ttftMs'));
  const row = (what: string, field: keyof Run) => ({ what, cells: MODES.map((mode) => String(spread(of(mode, field)).median)) });
  return {
    settings: { runs, seconds, workers: WORKERS, groups: GROUPS, prefixTokens: PREFIX_TOKENS, suffixTokens: SUFFIX_TOKENS, answerTokens: ANSWER_TOKENS, blockSize: BLOCK_SIZE, blocksOfAWorker: BLOCK_COUNT, kneePerSecond: round(knee), ratePerSecond: round(knee * KNEE_SHARE) },
    figures: MODES.map((mode) => ({ mode, ttftMs: spread(of(mode, 'ttftMs')), p99Ms: spread(of(mode, 'p99Ms')), cachedShare: spread(of(mode, 'cachedShare')) })),
    goals: [{ goal: 'kv halves the mean time to the first token of round-robin', got: `${round(left.median)} of it, ${left.min} to ${left.max}`, met: left.median <= GOAL }],
    charts: [
      {
        title: `Time to the first token at ${round(knee * KNEE_SHARE)} requests a second, ms`,
        logarithmic: false,
        series: ['mean', 'p99'],
        groups: MODES.map((mode) => ({ name: [mode], values: [spread(of(mode, 'ttftMs')), spread(of(mode, 'p99Ms'))] })),
      },
    ],
    columns: [...MODES],
    rows: [row('mean time to the first token, ms', 'ttftMs'), row('p99, ms', 'p99Ms'), row('share of prompts that was cached', 'cachedShare')],
  };
};
