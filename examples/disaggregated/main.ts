// Serves graph.ts, asks two questions with a common prefix, twice, and shows what moved between the workers.
// Usage: npm run example -- disaggregated [--once]
import { transferLine } from 'dynamo-node/disagg';
import { serveGraph } from 'dynamo-node/testing';
import { chat } from '../chat.js';
import type { Handoff } from './graph.js';

const SYSTEM = 'You know Dynamo and answer in one sentence, the first of its glossary.';
const QUESTIONS = ['What is KVBM?', 'What is NIXL?', 'What is KVBM?'];

await using served = await serveGraph('graph.ts', { cwd: import.meta.dirname });
const runtime = await served.cluster.runtime();
const handoffs = await runtime.namespace('dynamo').subscribe<Handoff>('handoffs');
for (const name of ['Prefill', 'Decode', 'Frontend'])
  console.log(`${name.toLowerCase().padEnd(9)} process ${served.worker(name).pid} ${served.worker(name).url ?? ''}`);

const [prefill, decode] = [served.worker('Prefill').pid, served.worker('Decode').pid];

for (const question of QUESTIONS) {
  const begin = performance.now();
  const { answer, cached } = await ask(question);
  const ms = performance.now() - begin;
  console.log(`\nquestion  ${question}\nanswer    ${answer}`);
  const { value } = await handoffs.next();
  const { data } = value as { data: Handoff };
  const { promptTokens, cachedTokens, transport } = data;
  const computed = promptTokens - cached;
  console.log(
    `prefill   process ${prefill} computed ${computed} of ${promptTokens} prompt tokens, ${cached} were cached`,
  );
  console.log(`moved     ${transferLine(data)}`);
  console.log(`transport ${transport}`);
  console.log(`decode    process ${decode} answered, and had ${cachedTokens} prompt tokens cached`);
  console.log(`time      ${ms.toFixed(0)} ms in all`);
}

async function ask(content: string): Promise<{ answer: string; cached: number }> {
  const messages = [
    { role: 'system', content: SYSTEM },
    { role: 'user', content },
  ];
  const response = await chat(served.url as string, { model: 'tiny-llama', messages, max_tokens: 60, temperature: 0 });
  const { choices, usage } = (await response.json()) as {
    choices: { message: { content: string } }[];
    usage: { prompt_tokens_details?: { cached_tokens?: number } };
  };
  return {
    answer: choices[0]?.message.content ?? '',
    cached: usage.prompt_tokens_details?.cached_tokens ?? 0,
  };
}
