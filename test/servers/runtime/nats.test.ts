import { connect } from 'node:net';
import { join } from 'node:path';
import {
  type Client,
  DistributedRuntime,
  DynamoError,
  type NatsTls,
  type RequestCancelled,
  type RequestContext,
  type RuntimeOptions,
} from 'dynamo-node';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { Child } from '../../helpers/child.js';
import { certificate, opensslMissing } from '../../helpers/runtime/certificates.js';
import { expectConversations } from '../../helpers/runtime/conversation.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';
import { failures, Traffic } from '../../helpers/runtime/traffic.js';
import type { NumbersItem, NumbersRequest } from '../../helpers/runtime/worker-protocol.js';
import { Server, serversMissing } from '../../helpers/servers.js';
import { lowest, waitFor, within } from '../../helpers/wait.js';

const missing = serversMissing('etcd', 'nats-server');

type Numbers = Client<NumbersRequest, NumbersItem>;

let nats: Server;

beforeAll(async () => {
  if (missing === undefined) nats = await Server.nats();
});
afterAll(() => nats?.close());
beforeEach(({ skip }) => skip(missing !== undefined, missing));

/** The options of a runtime with requests and events on NATS. */
const planes = () =>
  ({ requestPlane: 'nats', eventPlane: 'nats', natsServer: nats.url, host: '127.0.0.1', inhibitedSeconds: 0 }) as const;

async function runtimeIn(dir: string): Promise<DistributedRuntime> {
  const runtime = await DistributedRuntime.create({ discovery: { kind: 'file', dir }, ...planes() });
  onTestFinished(() => runtime.close({ timeoutMs: 5000 }));
  return runtime;
}

function workerIn(discovery: object, path: string): Child {
  const child = Child.program('test/helpers/runtime/programs/worker.ts', [
    JSON.stringify({ path, runtime: { discovery, ...planes() } }),
  ]);
  onTestFinished(() => child.stop());
  return child;
}

const NATS_TLS_VARIABLES: Record<keyof NatsTls, string> = {
  caPath: 'NATS_TLS_CA_CERT_PATH',
  clientCertPath: 'NATS_TLS_CLIENT_CERT_PATH',
  clientKeyPath: 'NATS_TLS_CLIENT_KEY_PATH',
  insecure: 'NATS_TLS_INSECURE',
};

/** Listens to all messages of a server. Returns a function that stops and returns their subjects. */
async function listen({ port }: Server): Promise<() => Promise<string[]>> {
  let text = '';
  const socket = connect(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  socket.write('CONNECT {"verbose":false}\r\nSUB > 1\r\n');
  let asked = 0;
  const subjects = async (): Promise<string[]> => {
    asked += 1;
    socket.write('PING\r\n');
    await waitFor(
      'the pong of NATS',
      () => text,
      (seen) => seen.split('PONG\r\n').length > asked,
    );
    return [...text.matchAll(/^MSG (\S+)/gm)].map(([, subject]) => subject as string);
  };
  await subjects();
  return subjects;
}

async function clientOf(runtime: DistributedRuntime, path: string): Promise<Numbers> {
  const client = await runtime.endpoint<NumbersRequest, NumbersItem>(path).client();
  onTestFinished(() => client.close());
  await client.waitForInstances({ timeoutMs: 30_000 });
  return client;
}

describe('the request plane on NATS', () => {
  it('answers from another process in order, with its transport in the instance', async () => {
    const dir = temporaryFolder();
    const runtime = await runtimeIn(dir);
    expect(runtime.config).toMatchObject({ requestPlane: 'nats', eventPlane: 'nats' });
    const worker = workerIn({ kind: 'file', dir }, 'nats.plain.generate');
    expect(await worker.event('ready')).toMatchObject({ transport: 'nats' });
    const client = await clientOf(runtime, 'nats.plain.generate');
    expect(client.instances().map(({ transport }) => transport)).toEqual(['nats']);
    expect(await client.collect({ call: 1, items: 1000 })).toEqual(
      Array.from({ length: 1000 }, (_, index) => ({ call: 1, index })),
    );
    await expect(client.collect({ call: 2, items: 4, failAt: 2 })).rejects.toMatchObject({
      code: 'DYN_NOT_FOUND',
      reason: 'request.not_found',
    });
    worker.kill('SIGTERM');
    expect(await worker.exit()).toMatchObject({ code: 0 });
    expect(await worker.event('closed')).toMatchObject({ accepted: 2, whole: 1, failed: 1, cut: 0 });
  });

  it('passes id, metadata and the loss of the caller to the handler', async () => {
    const runtime = await runtimeIn(temporaryFolder());
    let context: RequestContext | undefined;
    let returned = false;
    await runtime.endpoint<NumbersRequest, NumbersItem>('nats.context.generate').serve(async function* ({ call }, its) {
      context = its;
      try {
        for (let index = 0; ; index++) {
          await new Promise((resolve) => setImmediate(resolve));
          yield { call, index };
        }
      } finally {
        returned = true;
      }
    });
    const client = await clientOf(runtime, 'nats.context.generate');
    for await (const { index } of client.generate(
      { call: 1, items: 9 },
      { id: 'request-9', metadata: { tenant: 'a' } },
    ))
      if (index === 3) break;
    await waitFor('the end of the handler', () => returned);
    expect(context).toMatchObject({ id: 'request-9', metadata: { tenant: 'a' } });
    expect((context?.signal.reason as RequestCancelled).kind).toMatch(/^(killed|stopped)$/);
  });

  it('rejects a request over the limit of the server with a typed error, and answers the next one', async () => {
    const runtime = await runtimeIn(temporaryFolder());
    await runtime.endpoint<string, number>('nats.large.generate').serve((value) => value.length);
    const client = await runtime.endpoint<string, number>('nats.large.generate').client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    const tooLarge = {
      code: 'DYN_PAYLOAD_TOO_LARGE',
      retryable: false,
      message: expect.stringMatching(/exceeds the limit of the NATS server \(max_payload/),
    };
    await expect(client.unary('x'.repeat(4 << 20))).rejects.toMatchObject(tooLarge);
    expect(await client.unary('x'.repeat(1 << 19))).toBe(1 << 19);
  });

  it('delivers a bidirectional request, and reports an incomplete one if its caller left', async () => {
    const dir = temporaryFolder();
    await expectConversations(await runtimeIn(dir), await runtimeIn(dir), 'nats.conversation.generate');
  });

  it.for(['options', 'variables'])('uses TLS with a certificate on both sides, by %s', async (by, { skip }) => {
    skip(opensslMissing !== undefined, opensslMissing);
    const folder = temporaryFolder();
    await certificate(folder, 'authority');
    await Promise.all(['server', 'client'].map((name) => certificate(folder, name, 'authority')));
    await certificate(folder, 'stranger');
    const file = (name: string): string => join(folder, name);
    const tls = await Server.nats(
      '--tlsverify',
      '--tlscert',
      file('server.pem'),
      '--tlskey',
      file('server.key'),
      '--tlscacert',
      file('authority.pem'),
    );
    onTestFinished(() => tls.close());
    const natsServer = tls.url.replace('nats:', 'tls:');
    const own = {
      caPath: file('authority.pem'),
      clientCertPath: file('client.pem'),
      clientKeyPath: file('client.key'),
    };
    const dir = temporaryFolder();
    const start = (program: string, more: NatsTls = {}): Child => {
      const natsTls: NatsTls = { ...own, ...more };
      const { natsServer: _, ...rest } = planes();
      const runtime = {
        discovery: { kind: 'file', dir },
        ...rest,
        connectTimeoutMs: 3000,
        ...(by === 'options' ? { natsServer, natsTls } : {}),
      };
      const told = Object.entries(natsTls).map(([name, value]) => [
        NATS_TLS_VARIABLES[name as keyof NatsTls],
        String(value),
      ]);
      const env = by === 'options' ? {} : { NATS_SERVER: natsServer, ...Object.fromEntries(told) };
      const child = Child.program(
        `test/helpers/runtime/programs/${program}.ts`,
        [JSON.stringify({ path: 'nats.tls.generate', runtime })],
        { env },
      );
      onTestFinished(() => child.stop());
      return child;
    };
    await start('worker').event('ready');
    expect(await start('one-call').event('called')).toMatchObject({
      items: [0, 1, 2].map((index) => ({ call: 1, index })),
    });
    expect(await start('one-call', { caPath: file('stranger.pem'), insecure: true }).event('called')).toMatchObject({
      items: expect.any(Array),
    });
    for (const other of [
      { caPath: file('stranger.pem') },
      { clientCertPath: file('stranger.pem'), clientKeyPath: file('stranger.key') },
    ]) {
      const refused = start('one-call', other);
      expect((await refused.exit()).code, refused.output).not.toBe(0);
      expect(refused.output).toMatch(/DYN_|nats/i);
    }
  });

  it('fails with a typed Disconnected within a second if the worker is killed mid-stream', async () => {
    expect(await lowest(1000, killed)).toBeLessThan(1000);
  });

  const killed = async (): Promise<number> => {
    const dir = temporaryFolder();
    const runtime = await runtimeIn(dir);
    const worker = workerIn({ kind: 'file', dir }, 'nats.killed.generate');
    await worker.event('ready');
    const client = await clientOf(runtime, 'nats.killed.generate');
    let killedAt = 0;
    const read = (async () => {
      for await (const { index } of client.generate({ call: 1, items: 1_000_000, paceMs: 2 })) {
        if (index !== 5) continue;
        killedAt = performance.now();
        worker.kill('SIGKILL');
      }
    })();
    const error: unknown = await within(20_000, 'the end of the stream', read).catch((cause: unknown) => cause);
    const endedMs = performance.now() - killedAt;
    expect(error).toMatchObject({ code: 'DYN_UNAVAILABLE', kind: 'Disconnected' });
    return endedMs;
  };

  it('distributes calls to two workers with discovery on etcd', async () => {
    const etcd = await Server.etcd();
    onTestFinished(() => etcd.close());
    const discovery = { kind: 'etcd', endpoints: [etcd.url], leaseTtlSeconds: 10 } as const;
    const workers = [workerIn(discovery, 'nats.pair.generate'), workerIn(discovery, 'nats.pair.generate')];
    for (const worker of workers) await worker.event('ready');
    const runtime = await DistributedRuntime.create({ discovery, ...planes() });
    onTestFinished(() => runtime.close({ timeoutMs: 5000 }));
    const client = await runtime.endpoint<NumbersRequest, NumbersItem>('nats.pair.generate').client();
    await client.waitForInstances({ count: 2, timeoutMs: 30_000 });
    await Promise.all(Array.from({ length: 100 }, (_, call) => client.collect({ call, items: 3 })));
    for (const worker of workers) {
      worker.kill('SIGTERM');
      await worker.exit();
      expect(await worker.event('closed')).toMatchObject({ accepted: 50, whole: 50 });
    }
  });
});

describe('the event plane on NATS', () => {
  it('rejects an event over the limit of the server with a typed error, and delivers the next one', async () => {
    const runtime = await runtimeIn(temporaryFolder());
    const place = runtime.namespace('nats').component('large');
    await using events = await place.subscribe<Uint8Array>('bytes');
    await using publisher = await place.publisher<Uint8Array>('bytes');
    await expect(publisher.publish(new Uint8Array(2 << 20))).rejects.toMatchObject({
      code: 'DYN_PAYLOAD_TOO_LARGE',
      message: expect.stringMatching(
        /has 209\d{4} bytes with its envelope, but the NATS server accepts 1048576 \(max_payload/,
      ),
      details: { type: 'size_limit', limit: 1 << 20, actual: expect.any(Number), variable: 'max_payload' },
    });
    await publisher.publish(Uint8Array.of(7));
    expect([...(await within(20_000, 'the next event', events.next())).value.data]).toEqual([7]);
  });

  it('delivers events in order, without a gap, and only in their own scope', async () => {
    const runtime = await runtimeIn(temporaryFolder());
    const component = runtime.namespace('nats').component('events');
    await using events = await component.subscribe<number>('ticks');
    await using elsewhere = await runtime.namespace('nats').subscribe<number>('ticks');
    await using publisher = await component.publisher<number>('ticks');
    const other = elsewhere.next();
    other.catch(() => {});
    for (let value = 0; value < 100; value++) await publisher.publish(value);
    const seen: number[] = [];
    const sequences: number[] = [];
    while (seen.length < 100) {
      const { value } = await within(20_000, 'the next event', events.next(), () => seen);
      seen.push(value.data);
      sequences.push(value.sequence);
    }
    expect(seen).toEqual(Array.from({ length: 100 }, (_, index) => index));
    expect(sequences).toEqual(sequences.map((_, index) => (sequences[0] as number) + index));
    await using root = await runtime.namespace('nats').publisher<number>('ticks');
    await root.publish(-1);
    expect((await within(20_000, 'the event of the namespace', other)).value.data).toBe(-1);
  });
});

describe('a process with NATS', () => {
  it.each<[string, (url: string) => NodeJS.ProcessEnv, (url: string) => RuntimeOptions, RegExp[]]>([
    [
      'requests',
      (url) => ({ NATS_SERVER: url, DYN_REQUEST_PLANE: 'nats' }),
      (natsServer) => ({ natsServer, requestPlane: 'nats' }),
      [/^env_worker\.generate/],
    ],
    [
      'events',
      (url) => ({ NATS_SERVER: url, DYN_EVENT_PLANE: 'nats' }),
      (natsServer) => ({ natsServer, eventPlane: 'nats' }),
      [/^namespace\.env\.ticks$/],
    ],
    [
      'both',
      (url) => ({ NATS_SERVER: url, DYN_REQUEST_PLANE: 'nats', DYN_EVENT_PLANE: 'nats' }),
      (natsServer) => ({ natsServer, requestPlane: 'nats', eventPlane: 'nats' }),
      [/^env_worker\.generate/, /^namespace\.env\.ticks$/],
    ],
    ['neither', (url) => ({ NATS_SERVER: url }), (natsServer) => ({ natsServer }), []],
  ])('is configured by variables as by options: %s', async (_, env, options, expected) => {
    const subjects = await listen(nats);
    const ways = [
      {
        env: {
          DYN_DISCOVERY_BACKEND: 'mem',
          DYN_TCP_RPC_HOST: '127.0.0.1',
          DYN_TCP_RESPONSE_STREAM_HOST: '127.0.0.1',
          DYN_EVENT_PLANE_HOST: '127.0.0.1',
          ...env(nats.url),
        },
      },
      { env: { OPTIONS: JSON.stringify({ discovery: { kind: 'mem' }, host: '127.0.0.1', ...options(nats.url) }) } },
    ];
    const configs: unknown[] = [];
    for (const way of ways) {
      const before = (await subjects()).length;
      const child = Child.program('test/helpers/runtime/programs/from-environment.ts', [], way);
      onTestFinished(() => child.stop());
      const { config, answer, heard } = await child.event('described');
      expect({ answer, heard }).toEqual({ answer: 'HELLO', heard: 'tick' });
      configs.push(config);
      expect(await child.exit()).toMatchObject({ code: 0 });
      // Answers also come back over NATS, to a separate inbox.
      const seen = (await subjects()).slice(before).filter((subject) => !subject.startsWith('_INBOX.'));
      expect(seen.filter((subject) => !expected.some((one) => one.test(subject)))).toEqual([]);
      for (const one of expected) expect(seen).toContainEqual(expect.stringMatching(one));
    }
    expect(configs[0]).toEqual(configs[1]);
  });

  it.each([
    ['$NATS_SERVER', { NATS_SERVER: 'nats://127.0.0.1:1' }, {}],
    ['natsServer', {}, { natsServer: 'nats://127.0.0.1:1' }],
  ])('does not start if %s has no server', async (_, env, options) => {
    const more = {
      OPTIONS: JSON.stringify({ discovery: { kind: 'mem' }, host: '127.0.0.1', connectTimeoutMs: 1000, ...options }),
    };
    const child = Child.program('test/helpers/runtime/programs/from-environment.ts', [], { env: { ...env, ...more } });
    onTestFinished(() => child.stop());
    expect(await child.exit()).toMatchObject({ code: 1 });
    expect(child.output).toContain('no connection within 1000 ms to NATS at nats://127.0.0.1:1');
  });
});

describe('NATS stopped and started again under load', () => {
  it('completes streams in flight; calls are answered or fail with typed errors; later calls succeed', async () => {
    const dir = temporaryFolder();
    const runtime = await runtimeIn(dir);
    const worker = workerIn({ kind: 'file', dir }, 'nats.restarted.generate');
    await worker.event('ready');
    const client = await clientOf(runtime, 'nats.restarted.generate');
    await using events = await runtime.namespace('nats').subscribe<number>('after-restart');
    await using publisher = await runtime.namespace('nats').publisher<number>('after-restart');

    const long = client.generate({ call: -1, items: 400, paceMs: 5 });
    expect((await long.next()).value).toEqual({ call: -1, index: 0 });
    const traffic = new Traffic(client);
    await waitFor(
      'calls before the stop',
      () => traffic.whole,
      (whole) => whole > 50,
    );
    await nats.stop();
    const stoppedAt = performance.now();
    expect(await long.collect()).toHaveLength(399);
    await nats.start();
    const startedAt = performance.now();
    const atStart = traffic.whole;
    await waitFor(
      'calls behind the restart',
      () => ({ whole: traffic.whole, outcomes: traffic.outcomes.slice(-3) }),
      ({ whole }) => whole > atStart + 100,
      30_000,
    );
    const outcomes = await traffic.end();
    console.log(
      `${outcomes.length} calls during a restart of NATS (${Math.round(startedAt - stoppedAt)} ms away): ` +
        `failures ${JSON.stringify(failures(outcomes))}`,
    );
    expect(outcomes.filter(({ error, items }) => error !== undefined && (items > 0 || !DynamoError.is(error)))).toEqual(
      [],
    );
    expect(outcomes.filter(({ error }) => DynamoError.is(error) && !error.retryable)).toEqual([]);

    let received: number | undefined;
    const reading = events.next().then(({ value }) => (received = value.data));
    let published = 0;
    await waitFor(
      'an event after the restart',
      async () => {
        await publisher.publish(published++);
        return received;
      },
      (data) => data !== undefined,
      20_000,
    );
    await reading;
  });
});
