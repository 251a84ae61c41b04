// An OpenAI client's way through Dynamo: the frontend in this process, the model in two workers.
// Usage: npm start [-- --port N] [-- --once]
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { DynamoError, Frontend } from 'dynamo-node';

const MODEL = 'tiny-llama';
const QUESTION = 'What is a block of the KV cache?';

const { values: args } = parseArgs({
  options: { port: { type: 'string', default: '8000' }, once: { type: 'boolean', default: false } },
});
const port = Number(args.port);
if (!Number.isInteger(port) || port < 0 || port > 65535)
  fail(`--port: expected a number from 0 to 65535, got ${args.port}`);

const dir = mkdtempSync(join(tmpdir(), 'dynamo-quickstart-'));
process.on('exit', () => rmSync(dir, { recursive: true, force: true }));

const frontend = await Frontend.start(
  { discovery: { kind: 'file', dir }, host: '127.0.0.1' },
  { host: '127.0.0.1', port },
).catch((error: unknown) => {
  if (DynamoError.is(error) && error.reason === 'frontend.bind')
    fail(`${error.message}. Choose another with --port N.`);
  throw error;
});

const workers = [startWorker(), startWorker()];
let closing: Promise<void> | undefined;
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void stop());

try {
  await Promise.all(workers.map(ready));
  await frontend.waitForModel(MODEL);
  console.log(`frontend  ${frontend.url} (process ${process.pid})`);
  for (const { pid } of workers) console.log(`worker    ${MODEL} in TypeScript (process ${pid})`);
  console.log(
    `\n  curl -N ${frontend.url}/v1/chat/completions -H 'content-type: application/json' -d '${JSON.stringify(request(QUESTION))}'\n`,
  );
  console.log(`question: ${QUESTION}`);
  await printAnswer(QUESTION);
} catch (error) {
  if (closing === undefined) {
    console.error(error);
    process.exitCode = 1;
    await stop();
  }
}
if (args.once) await stop();
else if (closing === undefined) console.log('\nCtrl-C ends it.');

function fail(message: string): never {
  console.error(message);
  process.exit(1);
}

function startWorker(): ChildProcess {
  const worker = fork(fileURLToPath(new URL('worker.ts', import.meta.url)), [dir], {
    env: { DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS: '0', ...process.env },
  });
  worker.once('exit', (code, signal) => {
    if (closing !== undefined) return;
    console.error(`worker ${worker.pid} ended (${signal ?? `code ${code}`})`);
    process.exitCode = 1;
  });
  return worker;
}

async function ready(worker: ChildProcess): Promise<void> {
  const ended = once(worker, 'exit').then(() => Promise.reject(new Error('a worker ended before it was ready')));
  ended.catch(() => {});
  await Promise.race([once(worker, 'message'), ended]);
}

function request(question: string): object {
  return {
    model: MODEL,
    messages: [{ role: 'user', content: question }],
    max_tokens: 200,
    temperature: 0,
    stream: true,
  };
}

async function printAnswer(question: string): Promise<void> {
  const response = await fetch(`${frontend.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(request(question)),
  });
  if (!response.ok || response.body === null) throw new Error(`${response.status} ${await response.text()}`);
  process.stdout.write('answer: ');
  let pending = '';
  for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
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

/** Requests first, then the workers, then this process: nothing of it is left. */
function stop(): Promise<void> {
  closing ??= (async () => {
    await frontend.close();
    await Promise.all(
      workers.map(async (worker) => {
        if (worker.exitCode !== null || worker.signalCode !== null) return;
        const ended = once(worker, 'exit');
        worker.kill('SIGTERM');
        await ended;
      }),
    );
  })();
  return closing;
}
