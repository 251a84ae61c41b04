import { fork } from 'node:child_process';
import cluster from 'node:cluster';
import { fileURLToPath } from 'node:url';

import { DistributedRuntime } from '../../../lib/index.js';
import { emit } from '../../helpers/runtime/programs/lines.js';

const [how = '', dir = '', role = 'parent'] = process.argv.slice(2);
const CHILDREN = 2;
const PATH = 'family.child.generate';

const runtime = await DistributedRuntime.create({ discovery: { kind: 'file', dir }, host: '127.0.0.1' });

/** Serves until its parent stops it. */
async function child(): Promise<void> {
  await runtime.endpoint<null, number>(PATH).serve(() => process.pid);
  process.on('message', () => void runtime.close().then(() => process.disconnect()));
  process.on('disconnect', () => setTimeout(() => process.exit(1), 10_000).unref());
  process.send?.('serving');
}

/** Forks while a runtime is open and in use, and calls the endpoints of its children. */
async function parent(): Promise<void> {
  const own = runtime.endpoint<null, number>('family.parent.generate');
  await own.serve(() => process.pid);
  const ownClient = await own.client();
  await ownClient.waitForInstances();
  await ownClient.unary(null);

  const args = [how, dir, 'child'];
  cluster.setupPrimary({ args });
  const start = (): {
    send(message: string): void;
    on: (event: 'message' | 'exit', listener: (value: unknown) => void) => unknown;
    process: { pid?: number };
  } => {
    if (how === 'cluster') return cluster.fork() as never;
    const forked = fork(fileURLToPath(import.meta.url), args);
    return {
      send: (message) => void forked.send(message),
      on: (event, listener) => forked.on(event, listener),
      process: forked,
    };
  };
  const children = Array.from({ length: CHILDREN }, start);
  await Promise.all(children.map((one) => new Promise((resolve) => one.on('message', resolve))));

  const client = await runtime.endpoint<null, number>(PATH).client();
  const instances = await client.waitForInstances({ count: CHILDREN, timeoutMs: 10_000 });
  const answers = await Promise.all(instances.map(({ instanceId }) => client.unary(null, { instanceId })));
  const isRight = children.every((one) => answers.includes(one.process.pid ?? 0));
  const codes = Promise.all(children.map((one) => new Promise((resolve) => one.on('exit', resolve))));
  for (const one of children) one.send('close');
  emit('family', { isRight, codes: await codes, own: (await ownClient.unary(null)) === process.pid });
  await runtime.close();
  emit('done');
}

await (role === 'child' ? child() : parent());
