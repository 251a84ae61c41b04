// Runs graph.ts with `dynamo serve`, and asks its model a question.
// Usage: npm start [-- --port N] [-- --once]
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chat } from '../chat.js';
import { fail, temporaryFolder } from '../processes.js';

const QUESTION = 'What is a block of the KV cache?';

interface GraphState {
  readonly urls: readonly string[];
  readonly services: readonly {
    readonly name: string;
    readonly workers: readonly { readonly pid: number; readonly url?: string }[];
  }[];
}

const { values: args } = parseArgs({
  options: { port: { type: 'string', default: '8000' }, once: { type: 'boolean', default: false } },
});
const port = Number(args.port);
if (!Number.isInteger(port) || port < 0 || port > 65535)
  fail(`--port: expected a number from 0 to 65535, got ${args.port}`);

const dynamo = fileURLToPath(new URL('dist/cli/main.js', import.meta.resolve('dynamo-node/package.json')));
const graph = fileURLToPath(new URL('graph.ts', import.meta.url));
const serve = spawn(process.execPath, [dynamo, 'serve', graph, '--port', args.port, '--json'], {
  stdio: ['ignore', 'pipe', 'inherit'],
  env: { ...process.env, DYN_LOCAL_STATE_DIR: temporaryFolder('dynamo-quickstart-') },
});
const ended = once(serve, 'exit') as Promise<[number | null]>;
// A Ctrl-C on the terminal reaches `dynamo serve` too, which drains the graph.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => serve.kill('SIGTERM'));

for await (const line of createInterface({ input: serve.stdout })) {
  const { urls, services } = JSON.parse(line) as GraphState;
  for (const { name, workers } of services)
    for (const { pid, url = 'tiny-llama in TypeScript' } of workers)
      console.log(`${name.toLowerCase().padEnd(9)} ${url} (process ${pid})`);
  await sample(urls[0] as string).catch((error: unknown) => {
    if (serve.exitCode === null) console.error(error);
  });
  if (args.once) serve.kill('SIGTERM');
  else console.log('\nPress Ctrl-C to stop.');
}
const [code] = await ended;
process.exitCode = code ?? 1;

async function sample(url: string): Promise<void> {
  const body = {
    model: 'tiny-llama',
    messages: [{ role: 'user', content: QUESTION }],
    max_tokens: 200,
    temperature: 0,
    stream: true,
  };
  const command = `curl -N ${url}/v1/chat/completions -H 'content-type: application/json'`;
  console.log(`\n  ${command} -d '${JSON.stringify(body)}'\n`);
  console.log(`question: ${QUESTION}`);
  const { body: events } = await chat(url, body);
  if (events === null) throw new Error('the answer has no body');
  process.stdout.write('answer: ');
  let pending = '';
  for await (const part of events.pipeThrough(new TextDecoderStream())) {
    const lines = (pending + part).split('\n');
    pending = lines.pop() ?? '';
    for (const line of lines) {
      if (!line.startsWith('data: {')) continue;
      const { choices } = JSON.parse(line.slice('data: '.length)) as {
        choices: { delta: { content?: string | null } }[];
      };
      process.stdout.write(choices[0]?.delta.content ?? '');
    }
  }
  process.stdout.write('\n');
}
