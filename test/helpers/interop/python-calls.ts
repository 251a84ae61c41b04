import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import {
  Annotated,
  DistributedRuntime,
  DynamoError,
  type Endpoint,
  type Handler,
  type RequestCancelled,
  type RequestContext,
} from 'dynamo-node';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { Child, type ChildEvent, pythonPeer } from '../child.js';
import { lowest, waitFor } from '../wait.js';
import { carried, describeValue, fixture } from './describe-value.js';
import { missingPeers } from './peers.js';

interface Told {
  context: RequestContext;
  ended: boolean;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/**
 * The tests of a Python client with TypeScript endpoints. One file runs them per codec, which is fixed for a process.
 */
export function testPythonCalls(codec: 'msgpack' | 'json'): void {
  const folder = mkdtempSync(join(tmpdir(), 'dynamo-interop-'));
  const told = new Map<string, Told>();
  let runtime: DistributedRuntime;
  let caller: Child;
  let endpoints: Record<string, Endpoint>;

  const handlers: Record<string, Handler<never, unknown>> = {
    echo: (value: unknown) => value,
    describe: (value: unknown) => describeValue(value),
    fixture: () => fixture,
    context: (_: unknown, { id, metadata }) => ({ id, metadata }),
    count: function* (count: number) {
      for (let index = 0; index < count; index++) yield index;
    },
    annotated: async function* () {
      yield new Annotated<number>({ event: 'progress', comments: ['half'] });
      yield new Annotated<number>({ data: 1, id: 'first' });
      yield 2;
    },
    fail: async function* ({ items, error }: { items: number; error: string }) {
      for (let index = 0; index < items; index++) yield index;
      if (error === 'dynamo') throw new DynamoError('NotFound', 'no such block', { reason: 'request.not_found' });
      if (error === 'type') throw new TypeError('wrong type');
      throw new Error('broken');
    },
    endless: async function* (_: unknown, context) {
      const entry: Told = { context, ended: false };
      told.set(context.id, entry);
      try {
        for (let index = 0; ; index++) {
          await turn();
          yield index;
        }
      } finally {
        entry.ended = true;
      }
    },
  };

  beforeAll(async () => {
    if (missingPeers !== undefined) return undefined;
    runtime = await DistributedRuntime.create({ discovery: { kind: 'file', dir: folder }, host: '127.0.0.1', codec });
    endpoints = {};
    for (const [name, handler] of Object.entries(handlers)) {
      endpoints[name] = runtime.endpoint(`interop.typescript.${name}`);
      await endpoints[name].serve(handler as Handler<unknown, unknown>);
    }
    caller = pythonPeer('caller.py', [], folder, { DYN_RUNTIME_INHIBITED_DURATION_SECS: '0' });
    await caller.event('ready');
    return async () => {
      await caller.stop();
      await runtime.close({ timeoutMs: 5000 });
    };
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  beforeEach(({ skip }) => skip(missingPeers !== undefined, missingPeers));

  const call = (name: string, command: object): void =>
    caller.send({ do: 'call', path: `interop.typescript.${name}`, ...command });

  async function answerOf(name: string, command: object = {}): Promise<unknown> {
    call(name, command);
    return (await caller.event('answer'))['items'];
  }

  async function errorOf(name: string, command: object): Promise<ChildEvent> {
    call(name, command);
    return caller.event('error');
  }

  /** The event `answer` or `error` of a call. */
  async function endOf(name: string, command: object): Promise<ChildEvent> {
    const ends = (): ChildEvent[] => caller.events.filter(({ event }) => event === 'answer' || event === 'error');
    const before = ends().length;
    call(name, command);
    const all = await waitFor('the end of the call', ends, ({ length }) => length > before);
    return caller.event((all.at(-1) as ChildEvent).event);
  }

  describe(`a TypeScript endpoint with codec ${codec}, called by Python`, () => {
    it('is called with the codec that it advertises', async () => {
      expect((await runtime.instances()).map((instance) => instance.codec)).toEqual(
        Object.keys(handlers).map(() => codec),
      );
    });

    it('sends values as JavaScript writes them: u64, bytes, NaN, unicode, nesting', async () => {
      expect(await answerOf('describe', { fixture: true })).toEqual([`text ${carried(codec)}`]);
    });

    it('receives and returns a value with its types', async () => {
      expect(await answerOf('fixture')).toEqual([carried(codec)]);
      expect(await answerOf('echo', { fixture: true })).toEqual([carried(codec)]);
    });

    it('streams in order', async () => {
      expect(await answerOf('count', { request: 1000 })).toEqual(
        Array.from({ length: 1000 }, (_, index) => `int ${index}`),
      );
    });

    it('answers a Python UnaryClient', async () => {
      caller.send({ do: 'unary', path: 'interop.typescript.echo', request: 'hello' });
      expect((await caller.event('answer'))['items']).toEqual(['text hello']);
    });

    it('receives the request id and the metadata', async () => {
      const metadata = { tenant: 'a', traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' };
      expect(await answerOf('context', { id: 'request-7', metadata })).toEqual([
        describeValue({ id: 'request-7', metadata }),
      ]);
    });

    it('sends event, comments and id beside the data', async () => {
      expect(await answerOf('annotated', { annotated: true })).toEqual([
        '{comments: [text half], event: text progress}',
        '{data: int 1, id: text first}',
        '{data: int 2}',
      ]);
      expect(await answerOf('annotated')).toEqual(['int 1', 'int 2']);
    });

    it.each([
      ['dynamo', 'NotFound: no such block'],
      ['type', 'wrong type'],
      ['plain', 'broken'],
    ])('sends the class and message of the error "%s" before and after the first item', async (error, text) => {
      for (const items of [0, 2]) {
        const failed = await errorOf('fail', { request: { items, error } });
        expect(failed['text']).toContain(text);
        expect(failed['items']).toEqual(items === 0 ? [] : ['int 0', 'int 1']);
      }
    });

    it('is stopped by stop_generating, and Python sees a clean end', async () => {
      call('endless', { id: 'stopped', stop_after: 3 });
      expect((await caller.event('answer'))['items']).not.toHaveLength(0);
      const entry = await waitFor(
        'the stopped handler',
        () => told.get('stopped'),
        (one) => one?.ended === true,
      );
      expect((entry?.context.signal.reason as RequestCancelled).kind).toBe('stopped');
    });

    // Upstream may report "stopped" instead of "killed" if the worker's write fails before it reads the kill.
    const lost = expect.stringMatching(/^(killed|stopped)$/);

    it('is cancelled when the Python caller drops the stream', async () => {
      call('endless', { id: 'dropped', leave_after: 3 });
      await caller.event('answer');
      const entry = await waitFor(
        'the dropped handler',
        () => told.get('dropped'),
        (one) => one?.ended === true,
      );
      expect((entry?.context.signal.reason as RequestCancelled).kind).toEqual(lost);
    });

    it('is cancelled within a second when the Python caller is killed', async () => {
      let tries = 0;
      const killed = async (): Promise<number> => {
        const [doomed, id] = [pythonPeer('caller.py', [], folder), `doomed-${tries++}`];
        try {
          doomed.send({ do: 'call', path: 'interop.typescript.endless', id, tell_after: 3 });
          await doomed.event('told');
          const killedAt = performance.now();
          doomed.kill('SIGKILL');
          const entry = await waitFor(
            'the handler of the dead caller',
            () => told.get(id),
            (one) => one?.ended === true,
          );
          const endedMs = performance.now() - killedAt;
          expect((entry?.context.signal.reason as RequestCancelled).kind).toEqual(lost);
          return endedMs;
        } finally {
          await doomed.stop();
        }
      };
      expect(await lowest(1000, killed)).toBeLessThan(1000);
    });

    it('is not visible to Python while it is unregistered', async () => {
      const ids = async (): Promise<unknown> => {
        caller.send({ do: 'instances', path: 'interop.typescript.echo' });
        return (await caller.event('instances'))['ids'];
      };
      const ours = [String(runtime.instanceId)];
      expect(await ids()).toEqual(ours);
      await endpoints['echo']?.unregister();
      await waitFor('the instances that Python sees', ids, (seen) => (seen as string[]).length === 0);
      await endpoints['echo']?.register();
      expect(await waitFor('the instances that Python sees', ids, (seen) => (seen as string[]).length === 1)).toEqual(
        ours,
      );
      // Python's router learns of the return by itself, and refuses calls until then.
      const { items } = await waitFor(
        'an answer',
        () => endOf('echo', { request: 1 }),
        ({ event }) => event === 'answer',
      );
      expect(items).toEqual(['int 1']);
    });

    it('causes an error in Python within a second if killed mid-stream, after every received item', async () => {
      let tries = 0;
      const killed = async (): Promise<number> => {
        const path = `interop.doomed-${tries++}.generate`;
        const options = { path, runtime: { discovery: { kind: 'file', dir: folder }, host: '127.0.0.1', codec } };
        const worker = Child.program('test/helpers/runtime/programs/worker.ts', [JSON.stringify(options)]);
        try {
          await worker.event('ready');
          caller.send({ do: 'call', path, request: { call: 0, items: 1_000_000, paceMs: 5 }, tell_after: 3 });
          await caller.event('told');
          const killedAt = performance.now();
          worker.kill('SIGKILL');
          const error = await caller.event('error');
          const endedMs = performance.now() - killedAt;
          expect(error['text']).toMatch(/Disconnected|Stream ended before generation completed/);
          expect((error['items'] as unknown[]).length).toBeGreaterThanOrEqual(3);
          return endedMs;
        } finally {
          await worker.stop();
        }
      };
      expect(await lowest(1000, killed)).toBeLessThan(1000);
    });
  });
}
