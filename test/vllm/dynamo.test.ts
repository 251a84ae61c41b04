import { DistributedRuntime, Frontend, serveEngine } from 'dynamo-node';
import { askSideChannel, compatibilityHash, shapeOf, VllmKvStore } from 'dynamo-node/vllm';
import { describe, expect, it, onTestFinished } from 'vitest';
import { freePort } from '../../lib/testing/port.js';
import { peerEnvironment } from '../helpers/interop/peers.js';
import { privateCluster } from '../helpers/runtime/cluster.js';
import { StoreDecode, StorePrefill } from '../helpers/vllm/engines.js';
import { milliseconds, seen } from '../helpers/vllm/report.js';
import { MODEL, PythonProgram, READY_MS, vllmMissing, workerArguments } from '../helpers/vllm/serve.js';
import { waitFor } from '../helpers/wait.js';

const QUESTIONS = ['What is KVBM?', 'What is NIXL?', 'What is prefix caching?', 'What is a block?'];

interface Graph {
  readonly runtime: DistributedRuntime;
  readonly frontend: Frontend;
  readonly side: { readonly host: string; readonly port: number };
  ask(question: string): Promise<{ text: string; workers: Record<string, unknown>; ms: number }>;
}

/** A deployment with our frontend, and one Python worker with vLLM 0.31.0. */
async function graphOf(mode: 'prefill' | 'decode'): Promise<Graph> {
  if (vllmMissing !== undefined) throw new Error(vllmMissing);
  const cluster = privateCluster();
  onTestFinished(() => cluster.remove());
  const port = await freePort();
  const role = mode === 'prefill' ? 'kv_producer' : 'kv_consumer';
  const program = PythonProgram.start(
    ['-m', 'dynamo.vllm', ...workerArguments({ role }), '--disaggregation-mode', mode],
    { ...peerEnvironment(cluster.dir), VLLM_NIXL_SIDE_CHANNEL_PORT: String(port) },
    '0.31.0',
  );
  onTestFinished(() => program.stop());
  const runtime = await DistributedRuntime.create(cluster.options);
  onTestFinished(() => runtime.close({ timeoutMs: 5000 }));
  const side = { host: '127.0.0.1', port };
  await program.ready(async () => (await askSideChannel(side)).metadata.num_blocks > 0);
  const frontend = await Frontend.start(cluster.options, { host: '127.0.0.1', port: 0 });
  onTestFinished(() => frontend.close({ timeoutMs: 5000 }));
  const ask: Graph['ask'] = async (question) => {
    const start = performance.now();
    const response = await fetch(`${frontend.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        model: 'tiny',
        messages: [{ role: 'user', content: question }],
        max_tokens: 60,
        temperature: 0,
        nvext: { extra_fields: ['worker_id'] },
      }),
    });
    const body = (await response.json()) as any;
    if (!response.ok) throw new Error(JSON.stringify(body));
    return {
      text: body.choices[0].message.content,
      workers: body.nvext?.worker_id ?? {},
      ms: performance.now() - start,
    };
  };
  return { runtime, frontend, side, ask };
}

/** Asks every question, twice, and checks the answers and that two workers took part. */
async function checkChats({ ask, frontend }: Graph): Promise<number[]> {
  await frontend.waitForModel('tiny', { timeoutMs: 120_000 });
  // The first answer may come before the router knows both workers.
  await waitFor('both workers', async () => (await ask('Hello')).workers['prefill_worker_id'], Boolean, 120_000);
  const times: number[] = [];
  for (const question of [...QUESTIONS, ...QUESTIONS]) {
    const { text, workers, ms } = await ask(question);
    expect(text).toBe(ANSWERS.get(question));
    expect(workers['prefill_worker_id']).not.toBe(workers['decode_worker_id']);
    times.push(ms);
  }
  return times;
}

/** What the model answers in one process: see examples/tiny-llama. */
const ANSWERS = new Map<string, string>();

async function aggregatedAnswers(): Promise<void> {
  const { TinyLlamaEngine, modelPath } = await import('../../examples/tiny-llama/engine.js');
  const cluster = privateCluster();
  onTestFinished(() => cluster.remove());
  const runtime = await DistributedRuntime.create(cluster.options);
  const worker = await serveEngine(runtime.endpoint('dynamo.backend.generate'), new TinyLlamaEngine('tiny'), {
    modelPath,
  });
  const frontend = await Frontend.start(cluster.options, { host: '127.0.0.1', port: 0 });
  await worker.ready;
  await frontend.waitForModel('tiny');
  for (const question of QUESTIONS) {
    const response = await fetch(`${frontend.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        model: 'tiny',
        messages: [{ role: 'user', content: question }],
        max_tokens: 60,
        temperature: 0,
      }),
    });
    const body = (await response.json()) as any;
    ANSWERS.set(question, body.choices[0].message.content);
  }
  await frontend.close();
  await worker.close({ timeoutMs: 1000 });
  await runtime.close();
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] as number;

describe('a Dynamo graph with vLLM 0.31.0', () => {
  it(
    'prefills in TypeScript and decodes in dynamo.vllm',
    async () => {
      await aggregatedAnswers();
      const graph = await graphOf('decode');
      const answer = await askSideChannel(graph.side);
      expect(answer.compatibilityHash).toBe(
        compatibilityHash({
          vllmVersion: '0.31.0',
          model: MODEL,
          dtype: 'torch.float32',
          kvHeads: 2,
          headDim: 32,
          layers: 4,
          attentionBackend: 'CPU_ATTN',
        }),
      );
      const store = await VllmKvStore.create({ shape: shapeOf(answer), blockCount: 256 });
      onTestFinished(() => store.close());
      const engine = new StorePrefill(store);
      const worker = await serveEngine(graph.runtime.endpoint('dynamo.prefill.generate'), engine, {
        modelPath: MODEL,
        modelName: 'tiny',
        workerType: 'prefill',
        kvRouting: false,
      });
      onTestFinished(() => worker.close({ timeoutMs: 1000 }));
      await worker.ready;
      const times = await checkChats(graph);
      await waitFor('every offer is read', () => store.statistics().openOffers === 0);
      expect(new Set(engine.ends)).toEqual(new Set(['read']));
      seen(
        'Dynamo 1.6.1: TypeScript prefill, Python dynamo.vllm decode (0.31.0)',
        `${times.length} of ${times.length} chats right, ${engine.ends.length} offers read; ` +
          `median ${milliseconds(median(times))}`,
      );
    },
    READY_MS,
  );

  it(
    'prefills in dynamo.vllm and decodes in TypeScript',
    async () => {
      if (ANSWERS.size === 0) await aggregatedAnswers();
      const graph = await graphOf('prefill');
      const store = await VllmKvStore.create({ shape: shapeOf(await askSideChannel(graph.side)), blockCount: 256 });
      onTestFinished(() => store.close());
      await store.connect(graph.side);
      const engine = new StoreDecode(store);
      const worker = await serveEngine(graph.runtime.endpoint('dynamo.backend.generate'), engine, {
        modelPath: MODEL,
        modelName: 'tiny',
        workerType: 'decode',
        kvRouting: false,
      });
      onTestFinished(() => worker.close({ timeoutMs: 1000 }));
      await worker.ready;
      const times = await checkChats(graph);
      seen(
        'Dynamo 1.6.1: Python dynamo.vllm prefill (0.31.0), TypeScript decode',
        `${times.length} of ${times.length} chats right, reads ${milliseconds(median(engine.reads))}; ` +
          `median ${milliseconds(median(times))}`,
      );
    },
    READY_MS,
  );
});
