// KV-aware routing: two workers, prompts with common prefixes, and the reasons of the router.
// Usage: npm run example -- kv-aware [--once]
import {
  DistributedRuntime,
  type EngineWorker,
  Frontend,
  formatExplanation,
  KvRouter,
  type LLMEngineOutput,
  type PreprocessedRequest,
  type RequestContext,
  serveEngine,
} from 'dynamo-node';
import { temporaryFolder } from '../processes.js';
import { modelPath, TinyLlamaEngine } from '../tiny-llama/engine.js';

const BLOCK_SIZE = 16;
const ENDPOINT = 'kv-aware.backend.generate';
const QUESTIONS = ['What is a block of the KV cache?', 'What is KV-aware routing?', 'What is prefix caching?'];
/** The common prefixes of two groups of prompts, long enough for a cache to matter. */
const MANUALS = {
  blue: 'You answer from the blue manual of the cache and its blocks. '.repeat(8),
  green: 'You are a green assistant and speak of workers and routers. '.repeat(8),
};

process.env['DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS'] ??= '0';
const options = { discovery: { kind: 'file', dir: temporaryFolder('dynamo-kv-aware-') }, host: '127.0.0.1' } as const;

/** The prompts that each worker has answered. */
const answered: { worker: string; tokens: Uint32Array }[] = [];
const names = new Map<bigint, string>();

class NamedEngine extends TinyLlamaEngine {
  constructor(private readonly worker: string) {
    super('tiny-llama', { blockSize: BLOCK_SIZE, blockCount: 512 });
  }

  override start(worker?: EngineWorker) {
    if (worker !== undefined) names.set(worker.workerId, this.worker);
    return super.start(worker);
  }

  override generate(request: PreprocessedRequest, context: RequestContext): AsyncGenerator<LLMEngineOutput> {
    answered.push({ worker: this.worker, tokens: request.token_ids });
    return super.generate(request, context);
  }
}

async function startWorker(name: string): Promise<() => Promise<void>> {
  const runtime = await DistributedRuntime.create(options);
  const served = await serveEngine(runtime.endpoint(ENDPOINT), new NamedEngine(name), { modelPath });
  await served.ready;
  return async () => {
    await served.close();
    await runtime.close();
  };
}

const closing = await Promise.all([startWorker('A'), startWorker('B')]);
const frontend = await Frontend.start(options, { host: '127.0.0.1', port: 0, router: { mode: 'kv' } });
const runtime = await DistributedRuntime.create(options);
const router = await KvRouter.create(runtime.endpoint(ENDPOINT), { blockSize: BLOCK_SIZE });
process.once('SIGINT', () => void close());

await frontend.waitForModel('tiny-llama');
console.log(
  `Two workers, blocks of ${BLOCK_SIZE} tokens. ${[...names].map(([id, name]) => `${name} is ${id}`).join(', ')}.\n`,
);
console.log('prompt           worker  prompt tokens  cached tokens');
for (const [index, question] of QUESTIONS.entries()) {
  // Both at once, so that the first two go to different workers: the router sees the load of one when it places the
  // other.
  const rows = await Promise.all(
    (['blue', 'green'] as const).map(async (manual) => ({ manual, ...(await ask(manual, question)) })),
  );
  for (const { manual, cached, worker, tokens } of rows) {
    const prompt = `${manual}, question ${index + 1}`.padEnd(19);
    console.log(`${prompt}${worker}${String(tokens.length).padStart(17)}${String(cached).padStart(15)}`);
    await waitForBlocks(tokens);
  }
}
console.log('\nThe router explains where it would send the last prompt:\n');
const tokens = answered.at(-1)?.tokens as Uint32Array;
console.log(formatExplanation(await router.explain({ tokens })));
if (process.argv.includes('--once')) await close();
else console.log(`\n${frontend.url} continues to answer requests. Press Ctrl-C to stop.`);

async function ask(
  manual: keyof typeof MANUALS,
  question: string,
): Promise<{ cached: number; worker: string; tokens: Uint32Array }> {
  const messages = [
    { role: 'system', content: MANUALS[manual] },
    { role: 'user', content: question },
  ];
  const response = await fetch(`${frontend.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'tiny-llama', messages, max_tokens: 4, temperature: 0 }),
  });
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  const { usage } = (await response.json()) as {
    usage: { prompt_tokens: number; prompt_tokens_details?: { cached_tokens?: number } };
  };
  // The prompts of the two manuals differ in length.
  const { worker, tokens } = answered.findLast(
    ({ tokens }) => tokens.length === usage.prompt_tokens,
  ) as (typeof answered)[0];
  return { cached: usage.prompt_tokens_details?.cached_tokens ?? 0, worker, tokens };
}

/** Waits until the router knows the blocks of a prompt. Their events arrive shortly after the response. */
async function waitForBlocks(prompt: Uint32Array): Promise<void> {
  const blocks = Math.floor(prompt.length / BLOCK_SIZE);
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; ) {
    const overlaps = await router.overlapScores({ tokens: prompt });
    if (overlaps.some(({ deviceBlocks }) => deviceBlocks >= blocks)) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error('the router has not received the cached blocks within 10 s');
}

async function close(): Promise<void> {
  await router.close();
  await frontend.close();
  await runtime.close();
  await Promise.all(closing.map((end) => end()));
}
