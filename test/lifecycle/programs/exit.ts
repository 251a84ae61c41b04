import { type Client, DistributedRuntime, startLog } from '../../../lib/index.js';
import { emit } from '../../helpers/runtime/programs/lines.js';

const [what = '', dir = ''] = process.argv.slice(2);

/** The folder in which the test itself serves; see `exit.test.ts`. */
const NUMBERS = 'exit.test.numbers';
const SILENT = 'exit.test.silent';

const open = (): Promise<DistributedRuntime> =>
  DistributedRuntime.create({ discovery: { kind: 'file', dir }, host: '127.0.0.1' });

async function clientOf(path: string): Promise<Client<number, number>> {
  const client = await (await open()).endpoint<number, number>(path).client();
  await client.waitForInstances({ timeoutMs: 10_000 });
  return client;
}

/** Each case leaves objects in some state. The test observes the process. */
const cases: Record<string, () => Promise<unknown>> = {
  import: async () => {},
  closed: async () => {
    const runtime = await open();
    const endpoint = runtime.endpoint<number, number>('exit.child.generate');
    const served = await endpoint.serve((value) => value + 1);
    const client = await endpoint.client();
    await client.waitForInstances();
    if ((await client.unary(1)) !== 2) throw new Error('a wrong answer');
    await client.close();
    await served.close();
    await runtime.close();
  },
  'closed-runtime': async () => {
    const runtime = await open();
    const endpoint = runtime.endpoint<number, number>('exit.child.generate');
    await endpoint.serve((value) => value + 1);
    const client = await endpoint.client();
    await client.waitForInstances();
    if ((await client.unary(1)) !== 2) throw new Error('a wrong answer');
    await runtime.close();
  },
  runtime: open,
  client: async () => {
    const client = await clientOf(NUMBERS);
    await client.collect(3);
  },
  'unread-stream': async () => {
    const stream = (await clientOf(NUMBERS)).generate(1_000_000);
    await stream.next();
  },
  'idle-watch': async () => {
    const watch = (await clientOf(NUMBERS)).watch();
    await watch.next();
  },
  'idle-subscription': async () => (await open()).namespace('exit').subscribe('topic'),
  publisher: async () => (await open()).namespace('exit').publisher('topic'),
  log: async () => {
    startLog({ filter: 'info', write: () => {} });
    await open();
  },
  metrics: async () => (await open()).metrics.counter({ name: 'exit_total', help: 'none' }).increment(),
  'waiting-call': async () => {
    const call = (await clientOf(SILENT)).unary(0);
    emit('waiting');
    const answer = await call;
    emit('answered', { answer });
  },
  'waiting-subscription': async () => {
    const events = await (await open()).namespace('exit').subscribe<number>('topic');
    emit('waiting');
    const { value } = await events.next();
    emit('answered', { answer: value.data });
  },
  served: async () => {
    const runtime = await open();
    await runtime.endpoint<number, number>('exit.child.served').serve((value) => value);
    emit('serving');
  },
  'process.exit': async () => {
    const runtime = await open();
    await runtime.endpoint('exit.child.leaving').serve(async function* () {
      for (let index = 0; ; index++) yield index;
    });
    const client = await clientOf(NUMBERS);
    const streams = Array.from({ length: 8 }, () => client.generate(1_000_000));
    await Promise.all(streams.map((stream) => stream.next()));
    emit('done', { at: Date.now() });
    process.exit(7);
  },
  throw: async () => {
    const client = await clientOf(NUMBERS);
    await client.generate(1_000_000).next();
    setImmediate(() => {
      throw new Error('not caught');
    });
  },
};

await cases[what]?.();
emit('done', { at: Date.now() });
