import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ServeTest } from '../../helpers/deploy/serve.js';
import { UserProject } from '../../helpers/deploy/user-project.js';
import { waitFor } from '../../helpers/wait.js';

const speakerOf = (word: string) => `import { endpoint, service } from 'dynamo-node/sdk';
import { punctuation } from './text/marks.js';

@service()
export class Speaker {
  @endpoint()
  async *speak(_: string) {
    yield '${word}';
    yield punctuation;
  }
}
`;

const marksOf = (mark: string) => `export const punctuation = '${mark}';\n`;

const COUNTER = `import { setTimeout as after } from 'node:timers/promises';
import { endpoint, service } from 'dynamo-node/sdk';

@service()
export class Counter {
  @endpoint()
  async *count(_: string) {
    for (let number = 0; ; number++) {
      await after(5);
      yield number;
    }
  }
}
`;

const GRAPH = `import { type ClientOf, depends, endpoint, graph, service } from 'dynamo-node/sdk';
import { Counter } from './counter.js';
import { Speaker } from './speaker.js';

@service({ role: 'frontend' })
export class Front {
  @depends(Counter) readonly counter!: ClientOf<Counter>;
  @depends(Speaker) readonly speaker!: ClientOf<Speaker>;

  @endpoint()
  async *count(text: string) {
    yield* this.counter.count(text);
  }

  @endpoint()
  async say(text: string) {
    return (await this.speaker.speak(text, { attempts: 3 }).collect()).join('');
  }
}

export default graph('watched', Front);
`;

describe('dynamo serve --watch', () => {
  it('replaces only the workers of a changed service, and drops no request of the others', async () => {
    await using test = new ServeTest();
    using project = new UserProject({
      'graph.ts': GRAPH,
      'counter.ts': COUNTER,
      'speaker.ts': speakerOf('hello'),
      'text/marks.ts': marksOf('!'),
    });
    const serve = test.serve(['--watch'], join(project.folder, 'graph.ts'));
    await test.ready(serve, 'watched', 60_000);
    const pids = async () => {
      const [state] = await test.states();
      return Object.fromEntries(state!.services.map(({ name, workers }) => [name, workers.map(({ pid }) => pid)]));
    };
    const before = await pids();

    const runtime = await test.runtime('watched');
    const counter = await runtime.endpoint<string, number>('dynamo.front.count').client();
    const front = await runtime.endpoint<string, string>('dynamo.front.say').client();
    await Promise.all([counter.waitForInstances(), front.waitForInstances()]);
    const counted: number[] = [];
    const stream = counter.generate('');
    const streaming = (async () => {
      for await (const number of stream) counted.push(number);
    })();
    const said: string[] = [];
    const failures: unknown[] = [];
    let isOver = false;
    const saying = (async () => {
      while (!isOver)
        await front.unary('').then(
          (text) => said.push(text),
          (error: unknown) => failures.push(error),
        );
    })();
    const hears = (text: string) =>
      waitFor(
        text,
        () => said.at(-1),
        (last) => last === text,
        60_000,
      );
    await hears('hello!');

    // Its own module, then a module that it imports.
    project.write({ 'speaker.ts': speakerOf('bye') });
    await hears('bye!');
    project.write({ 'text/marks.ts': marksOf('?') });
    await hears('bye?');

    // A fault of the syntax, a fault when it is loaded, and one in the start of the worker.
    project.write({ 'speaker.ts': 'export class {' });
    await waitFor(
      'the fault',
      () => serve.output,
      (output) => /speaker\.ts:1:\d+: Expected identifier/.test(output),
    );
    project.write({ 'speaker.ts': `throw new Error('no speaker');\n${speakerOf('never')}` });
    await waitFor(
      'the error',
      () => serve.output,
      (output) => output.includes('cannot be loaded: no speaker'),
      60_000,
    );
    // Code that never ends to load does not keep the next change away.
    const hanging = `import { writeFileSync } from 'node:fs';
writeFileSync(new URL('./loading', import.meta.url), '');
await new Promise((resolve) => setTimeout(resolve, 1e9));
`;
    project.write({ 'speaker.ts': `${hanging}${speakerOf('never')}` });
    await waitFor('the load', () => existsSync(join(project.folder, 'loading')), Boolean, 60_000);
    // Neither does a start hook that never ends.
    const hook = `  @onStart()
  async hang() {
    console.log('hook hangs');
    await new Promise((resolve) => setTimeout(resolve, 1e9));
  }
`;
    const stuck = speakerOf('never')
      .replace('{ endpoint,', '{ endpoint, onStart,')
      .replace('  @endpoint', `${hook}\n  @endpoint`);
    project.write({ 'speaker.ts': stuck });
    await waitFor(
      'the start hook',
      () => serve.output,
      (output) => output.includes('hook hangs'),
      60_000,
    );
    const failing = speakerOf('never').replace(
      '  @endpoint',
      "  constructor() {\n    throw new Error('no voice');\n  }\n\n  @endpoint",
    );
    project.write({ 'speaker.ts': failing });
    await waitFor(
      'the failed start',
      () => serve.output,
      (output) => output.includes('Speaker keeps its old code: Speaker#0 did not start: no voice'),
      60_000,
    );
    expect(said.at(-1)).toBe('bye?');
    project.write({ 'speaker.ts': speakerOf('again') });
    await hears('again?');

    const after = await waitFor('the end of the old worker', pids, ({ Speaker }) => Speaker?.length === 1);
    expect({ ...after, Speaker: [] }).toEqual({ ...before, Speaker: [] });
    expect(after['Speaker']).not.toEqual(before['Speaker']);
    isOver = true;
    await saying;
    expect(failures).toEqual([]);
    const from = counted.length;
    await waitFor('further numbers', () => counted.length > from);
    stream.stop();
    await streaming;
    expect(counted).toEqual(counted.map((_, index) => index));
    serve.kill('SIGINT');
    expect(await serve.exit()).toMatchObject({ code: 0 });
  });
});
