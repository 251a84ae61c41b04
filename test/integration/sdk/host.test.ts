import { type Client, currentRequest, startService } from 'dynamo-node';
import {
  type ClientOf,
  defineService,
  depends,
  endpoint,
  graph,
  onShutdown,
  onStart,
  pythonService,
  service,
  serviceContext,
  serviceInterface,
} from 'dynamo-node/sdk';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';

import { hostings } from '../../helpers/sdk/hosting.js';

const hosting = hostings();

const aborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));

@service()
class Words {
  readonly #context = serviceContext<{ suffix?: string }>();

  @endpoint()
  async *split(text: string) {
    const { suffix = '' } = this.#context.config;
    for (const word of text.split(' ')) yield `${word}${suffix}`;
  }

  @endpoint()
  async countOf(text: string) {
    return { words: text.split(' ').length, id: currentRequest()?.id };
  }

  @endpoint()
  async whoAnswers(_: null) {
    return String(this.#context.runtime.instanceId);
  }
}

@service()
class Caller {
  @depends(Words) readonly words!: ClientOf<Words>;

  @endpoint()
  async *upper(text: string) {
    for await (const word of this.words.split(text)) yield word.toUpperCase();
  }

  @endpoint()
  async count(text: string) {
    return { ...(await this.words.countOf(text)), outer: currentRequest()?.id };
  }

  @endpoint()
  async direct(instanceId: string) {
    return this.words.whoAnswers.direct(BigInt(instanceId), null);
  }

  @endpoint()
  async instances() {
    return (await this.words.split.waitForInstances({ timeoutMs: 5000 })).length;
  }

  @endpoint()
  async unknown() {
    return (this.words as unknown as Record<string, () => unknown>)['spilt']?.();
  }
}

const words = graph('words', Caller);

/** A client of an endpoint of a running graph, from another runtime. */
async function clientOf(one: ReturnType<typeof hosting>, path: string): Promise<Client<unknown, unknown>> {
  const client = await (await one.runtime()).endpoint(`dynamo.${path}`).client();
  await client.waitForInstances({ timeoutMs: 10_000 });
  return client;
}

describe('a running service', () => {
  it('answers with streams and values, through its dependency', async () => {
    const one = hosting();
    await one.startAll(words);
    expect(await (await clientOf(one, 'caller.upper')).generate('a b c').collect()).toEqual(['A', 'B', 'C']);
    const count = await (await clientOf(one, 'caller.count')).unary('a b', { id: 'request-1' });
    expect(count).toEqual({ words: 2, id: 'request-1', outer: 'request-1' });
  });

  it('reaches one instance of its dependency', async () => {
    const one = hosting();
    const runtimes = [await one.runtime(), await one.runtime()];
    for (const runtime of runtimes) await startService(runtime, words, Words);
    await one.start(words, Caller);
    const client = await clientOf(one, 'caller.direct');
    await expect.poll(async () => (await clientOf(one, 'caller.instances')).unary(null)).toBe(2);
    for (const { instanceId } of runtimes) expect(await client.unary(String(instanceId))).toBe(String(instanceId));
  });

  it('names the known endpoints if its code calls an unknown one', async () => {
    const one = hosting();
    await one.startAll(words);
    await expect((await clientOf(one, 'caller.unknown')).unary(null)).rejects.toThrow(
      "No Dynamo endpoint 'spilt' found on service 'Words'. Available endpoints: [split, countOf, whoAnswers]",
    );
  });

  it('has the configuration that its schema made, and rejects one that it refuses', async () => {
    const one = hosting();
    const Sized = defineService('Sized', { config: z.object({ size: z.coerce.number().default(7) }) }).endpoint(
      'size',
      async (_: null, { config }) => config.size,
    );
    const sized = graph('sized', Sized);
    await expect(one.start(sized, Sized, { config: { size: 'big' } })).rejects.toMatchObject({
      code: 'DYN_INVALID_REQUEST',
      message: 'Sized config.size: Invalid input: expected number, received NaN',
    });
    await one.start(sized, Sized, { config: { size: '12' } });
    expect(await (await clientOf(one, 'sized.size')).unary(null)).toBe(12);
  });

  it('rejects a request that the schema of its endpoint refuses, and receives what the schema makes', async () => {
    const one = hosting();
    const input = z.object({ text: z.string(), times: z.number().default(2) });
    const Checked = defineService('Checked')
      .endpoint('repeat', { input }, async function* ({ text, times }) {
        for (let index = 0; index < times; index++) yield text;
      })
      .endpoint('length', { input }, async ({ text, times }) => text.length * times);
    await one.startAll(graph('checked', Checked));
    const repeat = await clientOf(one, 'checked.repeat');
    const length = await clientOf(one, 'checked.length');
    expect(await repeat.generate({ text: 'a' }).collect()).toEqual(['a', 'a']);
    expect(await length.unary({ text: 'abc', times: 3 })).toBe(9);
    const refused = {
      code: 'DYN_INVALID_REQUEST',
      reason: 'request.invalid',
      message: expect.stringContaining('Checked.repeat request.text: Invalid input: expected string'),
    };
    await expect(repeat.generate({ text: 5 }).collect()).rejects.toMatchObject(refused);
    await expect(length.unary({})).rejects.toThrow('Checked.length request.text: Invalid input');
  });

  it('calls an implementation of an abstract service, and has no client for what no link names', async () => {
    @serviceInterface({ endpoints: ['generate'] })
    abstract class Engine {
      abstract generate(text: string): AsyncIterable<string>;
    }
    @service({ implements: [Engine] })
    class Echo extends Engine {
      @endpoint()
      async *generate(text: string) {
        yield `echo ${text}`;
      }
    }
    @service()
    class Front {
      @depends(Engine) readonly engine!: ClientOf<Engine>;
      @depends(Words) readonly words?: ClientOf<Words>;
      @endpoint()
      async *run(text: string) {
        yield* this.engine.generate(`${text} ${String(this.words)}`);
      }
    }
    const one = hosting();
    await one.startAll(graph('front', Front).link(Front, Echo));
    expect(await (await clientOf(one, 'front.run')).generate('hi').collect()).toEqual(['echo hi undefined']);
  });

  it('answers requests of services that depend on one another', async () => {
    const Ping = defineService('Ping', { deps: { pong: depends((): typeof Pong => Pong) } }).endpoint(
      'ping',
      async (left: number, { deps }): Promise<string> =>
        left === 0 ? 'end' : `ping ${await deps.pong.pong(left - 1)}`,
    );
    const Pong: ReturnType<typeof makePong> = makePong();
    function makePong() {
      return defineService('Pong', { deps: { ping: depends((): never => Ping as never) } }).endpoint(
        'pong',
        async (left: number, { deps }): Promise<string> =>
          `pong ${await (deps.ping as unknown as { ping(left: number): Promise<string> }).ping(left)}`,
      );
    }
    const one = hosting();
    await one.startAll(graph('circle', Ping, { allowCycles: true }));
    const client = await clientOf(one, 'ping.ping');
    await expect.poll(() => client.unary(2).catch(String)).toBe('ping pong ping pong end');
  });
});

describe('the end of a request', () => {
  const ends: string[] = [];
  const Endless = defineService('Endless').endpoint('run', async function* (name: string, _, { signal }) {
    try {
      yield 0;
      await aborted(signal);
    } finally {
      ends.push(name);
    }
  });
  const Middle = defineService('Middle', { deps: { endless: depends(Endless) } }).endpoint(
    'run',
    async function* (name: string, { deps }) {
      yield* deps.endless.run(name);
    },
  );
  const Deadline = defineService('Deadline', { deps: { endless: depends(Endless) } }).endpoint(
    'run',
    async function* (name: string, { deps }) {
      yield* deps.endless.run(name, { timeoutMs: 100 });
    },
  );

  it('cancels the request of a dependency when the first caller leaves', async () => {
    const one = hosting();
    await one.startAll(graph('endless', Middle));
    const client = await clientOf(one, 'middle.run');
    for await (const item of client.generate('left')) {
      expect(item).toBe(0);
      break;
    }
    await expect.poll(() => ends).toContain('left');
  });

  it('is a deadline of the call of a dependency', async () => {
    const one = hosting();
    await one.startAll(graph('deadline', Deadline));
    const client = await clientOf(one, 'deadline.run');
    await expect(client.generate('late').collect()).rejects.toMatchObject({ code: 'DYN_DEADLINE_EXCEEDED' });
    await expect.poll(() => ends).toContain('late');
  });
});

describe('the start of a service', () => {
  it('runs its hooks before it is served, and rejects with what a hook throws; then nothing is served', async () => {
    const calls: string[] = [];
    @service()
    class Failing {
      @onStart() first() {
        calls.push('first');
      }
      @onStart() second() {
        throw new Error('no model');
      }
      @onStart() third() {
        calls.push('third');
      }
      @onShutdown() end() {
        calls.push('end');
      }
      @endpoint() async *run() {}
    }
    const one = hosting();
    await expect(one.start(graph('failing', Failing), Failing)).rejects.toThrow('no model');
    expect(calls).toEqual(['first']);
    expect(await (await one.runtime()).instances()).toEqual([]);
  });

  it('rejects with what a constructor or a setup throws', async () => {
    @service()
    class Broken {
      constructor() {
        throw new Error('cannot construct');
      }
    }
    const Unset = defineService('Unset', {
      setup: () => {
        throw new Error('no setup');
      },
    });
    const one = hosting();
    await expect(one.start(graph('broken', Broken), Broken)).rejects.toThrow('cannot construct');
    await expect(one.start(graph('unset', Unset), Unset)).rejects.toThrow('no setup');
  });

  it('ends its endpoints and runs the shutdown hooks if a further endpoint cannot be served', async () => {
    const calls: string[] = [];
    const Twice = defineService('Twice')
      .endpoint('first', async () => 1)
      .endpoint('second', async () => 2)
      .onShutdown(() => void calls.push('end'));
    const one = hosting();
    const runtime = await one.runtime();
    await runtime.endpoint('dynamo.twice.second').serve(() => 'taken');
    await expect(startService(runtime, graph('twice', Twice), Twice)).rejects.toThrow('second');
    expect(calls).toEqual(['end']);
    const names = (await (await one.runtime()).instances()).map(({ endpoint: name }) => name);
    expect(names).toEqual(['second']);
  });

  it('rejects services that this process cannot run', async () => {
    const Python = pythonService('Python', { module: 'dynamo.vllm' });
    const one = hosting();
    await expect(one.start(graph('python', Python), Python)).rejects.toThrow(
      'service Python: a program of Python runs in its own process, not in this one',
    );
    await expect(one.start(words, 'Nobody')).rejects.toMatchObject({ reason: 'graph.unknown_service' });
    await expect(one.start(words, Words, { workers: 2 } as never)).rejects.toThrow('startService options.workers');
    await expect(one.start({} as never, Words)).rejects.toThrow('startService graph: expected an object of Graph');
    await expect(one.start(words, class {})).rejects.toThrow('startService service: expected a service, or a class');
    const running = await one.start(words, Words);
    await expect(running.close({ timeoutMs: -1 })).rejects.toThrow('service.close options.timeoutMs: expected');
  });
});

describe('the shutdown of a service', () => {
  it('completes requests, then aborts the signal, then runs all hooks, then closes the clients', async () => {
    const calls: string[] = [];
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const Slow = defineService('Slow', {
      deps: { words: depends(Words) },
      setup: ({ signal }) => signal.addEventListener('abort', () => calls.push('signal')),
    })
      .endpoint('run', async function* () {
        yield 'begin';
        await held;
        calls.push('request');
        yield 'end';
      })
      .onShutdown(() => {
        calls.push('first hook');
        throw new Error('a faulty hook');
      })
      .onShutdown(async ({ deps }) => {
        calls.push(`second hook: ${(await deps.words.countOf('a b c')).words}`);
      });
    const one = hosting();
    const slow = graph('slow', Slow);
    await one.start(slow, Words);
    const running = await one.start(slow, Slow);
    const answer = (await clientOf(one, 'slow.run')).generate(null);
    expect((await answer.next()).value).toBe('begin');

    const closing = running.close();
    const again = running.close();
    for (const one_ of [closing, again]) one_.catch(() => {});
    await expect
      .poll(async () => (await (await one.runtime()).instances()).map(({ component }) => component))
      .not.toContain('slow');
    expect(calls).toEqual([]);
    release();
    expect(await answer.collect()).toEqual(['end']);
    await expect(closing).rejects.toThrow('a faulty hook');
    await expect(again).rejects.toThrow('a faulty hook');
    expect(calls).toEqual(['request', 'signal', 'first hook', 'second hook: 3']);
    await running.ended;
  });

  it('cancels requests when the time is over', async () => {
    const one = hosting();
    const Stuck = defineService('Stuck').endpoint('run', async function* (_: null, __, { signal }) {
      yield 0;
      await aborted(signal);
      throw signal.reason;
    });
    const running = await one.start(graph('stuck', Stuck), Stuck);
    const answer = (await clientOf(one, 'stuck.run')).generate(null);
    await answer.next();
    await running.close({ timeoutMs: 50 });
    await expect(answer.collect()).rejects.toMatchObject({ name: 'DynamoError' });
  });
});
