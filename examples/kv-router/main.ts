// Serves graph.ts, sends prompts with two common prefixes, and shows which worker got each prompt, and why.
// Usage: npm run example -- kv-router
import { formatExplanation, KvRouter } from 'dynamo-node';
import { serveGraph, waitFor } from 'dynamo-node/testing';
import { BLOCK_SIZE } from './graph.js';

const QUESTIONS = ['What is a block of the KV cache?', 'What is KV-aware routing?', 'What is prefix caching?'];
/** The common prefixes of two groups of prompts, long enough for a cache to matter. */
const MANUALS = {
  blue: 'You answer from the blue manual of the cache and its blocks. '.repeat(8),
  green: 'You are a green assistant and speak of workers and routers. '.repeat(8),
};

interface Row {
  readonly manual: string;
  readonly tokens: Uint32Array;
  readonly worker: string;
  readonly cached: number;
}

await using served = await serveGraph('graph.ts', { cwd: import.meta.dirname });
const runtime = await served.cluster.runtime();
await using router = await KvRouter.create(runtime.endpoint('dynamo.worker.generate'), { blockSize: BLOCK_SIZE });

let last: Row | undefined;
console.log('prompt             worker                prompt tokens  cached tokens');
for (const [index, question] of QUESTIONS.entries()) {
  // Both at once: the router sees the load of the first when it places the second.
  for (last of await Promise.all([ask('blue', question), ask('green', question)])) {
    const { manual, worker, tokens, cached } = last;
    const prompt = `${manual}, question ${index + 1}`.padEnd(19);
    console.log(`${prompt}${worker.padEnd(20)}${String(tokens.length).padStart(15)}${String(cached).padStart(15)}`);
    // Their events reach the router shortly after the response.
    const isKnown = ({ deviceBlocks }: { deviceBlocks: number }) =>
      deviceBlocks >= Math.floor(tokens.length / BLOCK_SIZE);
    await waitFor(
      'blocks at the router',
      () => router.overlapScores({ tokens }),
      (workers) => workers.some(isKnown),
    );
  }
}
console.log('\nThe router explains where it would send the last prompt:\n');
if (last !== undefined) console.log(formatExplanation(await router.explain({ tokens: last.tokens })));

async function ask(manual: keyof typeof MANUALS, question: string): Promise<Row> {
  const messages = [
    { role: 'system', content: MANUALS[manual] },
    { role: 'user', content: question },
  ];
  const shown = {
    stream: true,
    stream_options: { include_usage: true },
    nvext: { annotations: ['token_ids'], extra_fields: ['worker_id'] },
  };
  const response = await fetch(`${served.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'tiny-llama', messages, max_tokens: 4, temperature: 0, ...shown }),
  });
  const text = await response.text();
  const find = (pattern: RegExp): string => {
    const [, found] = pattern.exec(text) ?? [];
    if (found === undefined) throw new Error(`${response.status}: ${text}`);
    return found;
  };
  return {
    manual,
    tokens: Uint32Array.from(JSON.parse(find(/^event: token_ids\n: "(.*)"$/m)) as number[]),
    // Its 64 bits are more than JSON.parse keeps.
    worker: find(/"decode_worker_id":(\d+)/),
    cached: Number(find(/"cached_tokens":(\d+)/)),
  };
}
