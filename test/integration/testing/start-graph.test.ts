import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { ClosedError } from 'dynamo-node';
import {
  builtInService,
  type ClientOf,
  defineService,
  depends,
  endpoint,
  engineService,
  frontendService,
  graph,
  onStart,
  service,
} from 'dynamo-node/sdk';
import { type RunningGraph, ScriptedEngine, startGraph } from 'dynamo-node/testing';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';

process.env['DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS'] = '0';

/** Other tests that run at the same time make clusters too. */
const scratch = mkdtempSync(join(tmpdir(), 'start-graph-'));
process.env['TMPDIR'] = scratch;
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

@service({ workers: 2, config: z.object({ mark: z.string().default('') }) })
class Words {
  @endpoint()
  async *split(text: string) {
    yield* text.split(' ');
  }

  @endpoint({ transports: ['dynamo', 'http'] })
  async length(text: string) {
    return text.length;
  }
}

@service({ name: 'Loud' })
class Loud {
  @depends(Words) readonly words!: ClientOf<Words>;

  @endpoint()
  async *shout(text: string) {
    for await (const word of this.words.split(text, { attempts: 3 })) yield word.toUpperCase();
  }
}

const folders = (): string[] => readdirSync(scratch).filter((name) => name.startsWith('dynamo-cluster-'));
const counts = (running: RunningGraph): number[] => [running.workers(Words).length, running.workers('Loud').length];

describe('startGraph', () => {
  it('runs all workers of all services, and removes what it made when it is closed', async () => {
    const running = await startGraph(graph('loud', Loud));
    expect(counts(running)).toEqual([2, 1]);
    expect(folders()).toHaveLength(1);
    const loud = await running.client(Loud);
    expect(await loud.shout('moved in blocks').collect()).toEqual(['MOVED', 'IN', 'BLOCKS']);
    await running.close();
    expect(folders()).toEqual([]);
  });

  it('serves HTTP endpoints and the frontend on free ports', async () => {
    await using words = await startGraph(graph('words', Words));
    const [first, second] = words.workers(Words).map(({ url }) => url);
    expect(first).not.toBe(second);
    const response = await fetch(`${first}/length`, {
      method: 'POST',
      body: '"moved"',
      headers: { 'content-type': 'application/json' },
    });
    expect(await response.json()).toBe(5);

    const Echo = builtInService('Echo', { kind: 'echo', modelName: 'echo' });
    await using chat = await startGraph(graph('chat', frontendService('Front')).with(Echo));
    expect(chat.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    await expect
      .poll(async () => (await fetch(`${chat.url}/v1/models`)).json())
      .toMatchObject({ data: [{ id: 'echo' }] });
  });

  it('adds and removes workers while calls run, and none fails', async () => {
    await using running = await startGraph(graph('loud', Loud));
    const loud = await running.client(Loud);
    let isDone = false;
    const caller = async (): Promise<number> => {
      let calls = 0;
      for (; !isDone; calls++) expect(await loud.shout('a b').collect()).toEqual(['A', 'B']);
      return calls;
    };
    const calls = Promise.all([caller(), caller()]);
    await running.add(Words);
    await running.remove(Words);
    await running.remove(Words);
    isDone = true;
    expect((await calls).every((count) => count > 0)).toBe(true);
    expect(counts(running)).toEqual([1, 1]);
  });

  it('leaves nothing running if a service cannot start', async () => {
    @service()
    class Broken {
      @depends(Words) readonly words!: ClientOf<Words>;

      @onStart()
      fail(): void {
        throw new Error('no model');
      }
    }
    await expect(startGraph(graph('broken', Broken))).rejects.toThrow('no model');
    expect(folders()).toEqual([]);
  });

  it('gives each service its configuration, and rejects one that the schema refuses', async () => {
    const Greeter = defineService('Greeter', { config: z.object({ greeting: z.string() }) }).endpoint(
      'greet',
      async (name: string, { config }) => `${config.greeting}, ${name}`,
    );
    const greeting = graph('greeting', Greeter);
    await using running = await startGraph(greeting, { config: { Greeter: { greeting: 'hello' } } });
    expect(await (await running.client(Greeter)).greet('block')).toBe('hello, block');
    await expect(startGraph(greeting)).rejects.toThrow(/Greeter config\.greeting: /);
  });

  it('applies overrides, and records what the endpoints of its services received', async () => {
    await using running = await startGraph(graph('loud', Loud), { overrides: ['--Words.ServiceArgs.workers=1'] });
    expect(counts(running)).toEqual([1, 1]);
    const received = running.requests<string>(Words, 'split').next();
    await (await running.client(Loud)).shout('moved in', { id: 'one' }).collect();
    expect(await received).toMatchObject({ id: 'one', request: 'moved in' });
    expect(running.requests('Loud', 'shout').all).toHaveLength(1);
  });

  it('records the requests of an engine, whose methods keep their object', async () => {
    const engine = new ScriptedEngine({ scripts: [[7]] });
    const Worker = engineService('Worker', () => ({ engine }));
    await using running = await startGraph(graph('engine', Worker));
    const client = await running.client(Worker);
    const request = {
      model: 'scripted',
      token_ids: [1],
      stop_conditions: {},
      sampling_options: {},
      output_options: {},
    };
    const [first] = await client.generate(request as never).collect();
    expect([...(first?.token_ids ?? [])]).toEqual([7]);
    expect(running.requests(Worker).all).toMatchObject([{ request: { token_ids: Uint32Array.of(1) } }]);
  });

  it('rejects wrong arguments with the path of the field', async () => {
    await expect(startGraph({} as never)).rejects.toThrow('startGraph graph: expected');
    const words = graph('words', Words);
    await expect(startGraph(words, { config: { Words: 5 } } as never)).rejects.toThrow(
      'startGraph options.config.Words: expected an object, got 5',
    );
    await using running = await startGraph(words);
    expect(() => running.workers('Nobody')).toThrow("no service 'Nobody'");
  });

  it('waits at its close for a worker that starts', async () => {
    let [isHeld, started, release] = [false, (): void => {}, (): void => {}];
    const starting = new Promise<void>((resolve) => (started = resolve));
    const released = new Promise<void>((resolve) => (release = resolve));
    @service()
    class Slow {
      @onStart()
      async start(): Promise<void> {
        if (!isHeld) return;
        started();
        await released;
      }

      @endpoint()
      async one(_: null) {
        return 1;
      }
    }
    const running = await startGraph(graph('slow', Slow));
    isHeld = true;
    const adding = running.add(Slow);
    await starting;
    const closing = running.close().then(() => 'closed');
    expect(await Promise.race([closing, new Promise((resolve) => setTimeout(resolve, 300, 'waits'))])).toBe('waits');
    release();
    await expect(adding).rejects.toThrow(ClosedError);
    expect(await closing).toBe('closed');
    expect(existsSync(running.cluster.folder)).toBe(false);
  });

  it('rejects a worker that is added while the graph closes, and leaves none', async () => {
    const running = await startGraph(graph('closing', Words));
    const adding = running.add(Words);
    const closing = running.close();
    await expect(adding).rejects.toThrow(ClosedError);
    await closing;
    await expect(running.add(Words)).rejects.toThrow('the graph is closed');
    expect(existsSync(running.cluster.folder)).toBe(false);
  });
});
