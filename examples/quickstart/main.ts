// An OpenAI-compatible deployment: the frontend in this process, the model in two worker processes.
// Usage: npm start [-- --port N] [-- --once]
import { parseArgs } from 'node:util';
import { DynamoError, Frontend } from 'dynamo-node';
import { ChildProgram, fail, temporaryFolder } from '../processes.js';

const MODEL = 'tiny-llama';
const QUESTION = 'What is a block of the KV cache?';

const { values: args } = parseArgs({
  options: { port: { type: 'string', default: '8000' }, once: { type: 'boolean', default: false } },
});
const port = Number(args.port);
if (!Number.isInteger(port) || port < 0 || port > 65535)
  fail(`--port: expected a number from 0 to 65535, got ${args.port}`);

const dir = temporaryFolder('dynamo-quickstart-');
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
  await Promise.all(workers.map((worker) => worker.message()));
  await frontend.waitForModel(MODEL);
  console.log(`frontend  ${frontend.url} (process ${process.pid})`);
  for (const { pid } of workers) console.log(`worker    ${MODEL} in TypeScript (process ${pid})`);
  const body = JSON.stringify(request(QUESTION));
  console.log(`\n  curl -N ${frontend.url}/v1/chat/completions -H 'content-type: application/json' -d '${body}'\n`);
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
else if (closing === undefined) console.log('\nPress Ctrl-C to stop.');

function startWorker(): ChildProgram {
  const worker = ChildProgram.start(new URL('worker.ts', import.meta.url), [dir], {
    DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS: '0',
  });
  void worker.ended.then((reason) => {
    if (closing !== undefined) return;
    console.error(`worker ${worker.pid} ended (${reason})`);
    process.exitCode = 1;
  });
  return worker;
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

/** Stops the frontend, which completes its requests, and then the workers. */
function stop(): Promise<void> {
  closing ??= (async () => {
    await frontend.close();
    await Promise.all(workers.map((worker) => worker.stop()));
  })();
  return closing;
}
