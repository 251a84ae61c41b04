import { connect } from 'node:net';
import { DistributedRuntime, KvRouter } from 'dynamo-node';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { Child } from '../../helpers/child.js';
import { BLOCK_SIZE } from '../../helpers/llm/caching-engine.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';
import { Wire } from '../../helpers/runtime/wire.js';
import { Server, serversMissing } from '../../helpers/servers.js';
import { waitFor } from '../../helpers/wait.js';

const missing = serversMissing('nats-server');
const BLOCKS = 4;
const TOKENS = BLOCKS * BLOCK_SIZE;

beforeEach(({ skip }) => skip(missing !== undefined, missing));

describe('a router with events on NATS', () => {
  it('receives cache events over NATS, and recovers missed events from the worker', async () => {
    const nats = await Server.nats();
    onTestFinished(() => nats.close());
    const wire = await Wire.to(nats.port);
    onTestFinished(() => wire.close());
    const dir = temporaryFolder();
    const optionsOn = (port: number) =>
      ({
        discovery: { kind: 'file', dir },
        requestPlane: 'tcp',
        eventPlane: 'nats',
        natsServer: `nats://127.0.0.1:${port}`,
        host: '127.0.0.1',
      }) as const;
    const listener = connect(nats.port, '127.0.0.1');
    onTestFinished(() => void listener.destroy());
    let published = '';
    listener.setEncoding('latin1').on('data', (part: string) => (published += part));
    listener.write('CONNECT {"verbose":false}\r\nSUB > 1\r\nPING\r\n');
    await waitFor('the listener', () => published.includes('PONG'));
    const worker = Child.program('test/helpers/router/programs/worker.ts', [JSON.stringify(optionsOn(nats.port)), '0']);
    onTestFinished(() => worker.stop());
    await worker.event('ready');
    const runtime = await DistributedRuntime.create(optionsOn(wire.port));
    onTestFinished(() => runtime.close({ timeoutMs: 5000 }));
    const router = await KvRouter.create(runtime.endpoint('test.backend.generate'), { blockSize: BLOCK_SIZE });
    onTestFinished(() => router.close());

    let stores = 0;
    const store = async (prompt: number): Promise<void> => {
      stores += 1;
      worker.send({ first: prompt * 1000, tokens: TOKENS });
      await worker.event('stored');
    };
    const overlapOf = async (prompt: number) =>
      (await router.overlapScores({ tokens: Uint32Array.from({ length: TOKENS }, (_, at) => prompt * 1000 + at) }))[0]
        ?.deviceBlocks;
    await waitFor(
      'the first event',
      async () => (await store(1), overlapOf(1)),
      (blocks) => blocks === 4,
      30_000,
    );
    wire.cut();
    await store(2);
    await store(3);
    await waitFor(
      'the published events',
      () => published.split('block_hash').length - 1,
      (blocks) => blocks === stores * BLOCKS,
      30_000,
    );
    wire.mend();
    await waitFor('the router’s next connection', () => wire.received, Boolean, 20_000);
    expect([await overlapOf(1), await overlapOf(2), await overlapOf(3)]).toEqual([4, 0, 0]);
    await waitFor(
      'the missed blocks',
      async () => (await store(4), overlapOf(2)),
      (blocks) => blocks === 4,
      20_000,
    );
    await waitFor(
      'all missed blocks',
      () => overlapOf(3),
      (blocks) => blocks === 4,
      30_000,
    );
  }, 180_000);
});
