import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { Frontend, type HttpFrontendOptions } from 'dynamo-node';
import { describe, expect, it } from 'vitest';
import { closeAfterEach } from '../../helpers/closing.js';
import { root } from '../../helpers/project.js';
import { privateCluster } from '../../helpers/runtime/cluster.js';
import { waitFor } from '../../helpers/wait.js';

interface WorkerEvent {
  event: string;
  id?: string;
  most?: number;
  prompt?: number;
}

interface Worker {
  process: ChildProcess;
  events: WorkerEvent[];
}

const onEnd = closeAfterEach();

async function startWorker(dir: string): Promise<Worker> {
  const child = fork(join(root, 'test/helpers/llm/programs/migrating-worker.ts'), [dir, '20'], {
    execArgv: ['--import', 'tsx'],
  });
  const events: WorkerEvent[] = [];
  child.on('message', (message) => events.push(message as WorkerEvent));
  onEnd(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  });
  await waitFor(
    'the worker',
    () => events,
    (all) => all.some(({ event }) => event === 'ready'),
    120_000,
  );
  return { process: child, events };
}

async function* streamed(url: string, most: number): AsyncGenerator<{ content: string; finish: string | null }> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      model: 'counting',
      messages: [{ role: 'user', content: 'count' }],
      max_tokens: most,
      stream: true,
    }),
  });
  expect(response.status).toBe(200);
  let pending = '';
  for await (const part of (response.body as ReadableStream<Uint8Array>).pipeThrough(new TextDecoderStream())) {
    const lines = (pending + part).split('\n');
    pending = lines.pop() ?? '';
    for (const line of lines) {
      if (!line.startsWith('data: {')) continue;
      const { choices, error } = JSON.parse(line.slice(6)) as {
        choices?: { delta: { content?: string | null }; finish_reason: string | null }[];
        error?: unknown;
      };
      if (error !== undefined) throw new Error(JSON.stringify(error));
      yield { content: choices?.[0]?.delta.content ?? '', finish: choices?.[0]?.finish_reason ?? null };
    }
  }
}

describe('a stream whose worker is killed', () => {
  it.each<[string, HttpFrontendOptions, boolean]>([
    ['moves within migrationLimit', { migrationLimit: 3 }, true],
    ['fails without migrationLimit', { migrationLimit: 0 }, false],
    ['fails if it is longer than migrationMaxTokens', { migrationLimit: 3, migrationMaxTokens: 12 }, false],
  ])('%s', async (_what, options, moves) => {
    const cluster = privateCluster();
    onEnd(() => cluster.remove());
    const workers = await Promise.all([startWorker(cluster.dir), startWorker(cluster.dir)]);
    const frontend = await Frontend.start(cluster.options, { host: '127.0.0.1', port: 0, ...options });
    onEnd(() => frontend.close());
    await frontend.waitForModel('counting');

    let items = 0;
    let last: string | null = null;
    let killed: Worker | undefined;
    const read = async () => {
      for await (const { finish } of streamed(frontend.url, 300)) {
        items += 1;
        last = finish ?? last;
        if (items !== 10) continue;
        killed = workers.find(({ events }) => events.some(({ event }) => event === 'generate'));
        killed?.process.kill('SIGKILL');
      }
    };
    if (!moves) {
      await read().catch(() => {});
      expect(last).not.toBe('length');
      return;
    }
    await read();
    expect(last).toBe('length');
    const other = workers.find((worker) => worker !== killed) as Worker;
    const first = killed?.events.find(({ event }) => event === 'generate') as WorkerEvent;
    const second = other.events.find(({ event }) => event === 'generate') as WorkerEvent;
    // The second worker receives the tokens of the first one, and generates the rest.
    const done = (first.most as number) - (second.most as number);
    expect(done).toBeGreaterThan(0);
    expect(second.prompt).toBe((first.prompt as number) + done);
  });
});
