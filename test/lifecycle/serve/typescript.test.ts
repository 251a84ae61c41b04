import { join } from 'node:path';
import type { Client } from 'dynamo-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { ServeTest } from '../../helpers/deploy/serve.js';
import { UserProject } from '../../helpers/deploy/user-project.js';
import { execute } from '../../helpers/project.js';

const GRAPH = `import { fork } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { endpoint, graph, service } from 'dynamo-node/sdk';
import { Kind } from './kind.js';
import { inThread } from './thread.js';

const ways: Record<string, () => unknown> = {
  import: () => Kind[Kind.Imported],
  late: async () => (await import('./late.js')).text,
  require: () => createRequire(import.meta.url)('./required.cts').text,
  thread: inThread,
  process: async () => (await once(fork(new URL('./said.ts', import.meta.url)), 'message'))[0],
  url: () => fileURLToPath(import.meta.url),
  place: () => new Error('here').stack,
};

@service()
class Front {
  @endpoint()
  async generate(way: string) {
    return String(await ways[way]!());
  }
}

export default graph('typescript', Front);
`;
const PLACE_LINE = GRAPH.split('\n').findIndex((line) => line.includes("new Error('here')")) + 1;

/** No Node.js runs an enum. */
const enumOf = (name: string): string => `export enum Kind { Other, ${name} }\n`;
const FILES = {
  'graph.ts': GRAPH,
  'kind.ts': enumOf('Imported'),
  'late.ts': `${enumOf('Late')}export const text: string = Kind[Kind.Late];\n`,
  'required.cts': `${enumOf('Required')}export const text: string = Kind[Kind.Required];\n`,
  'said.ts': `import { parentPort } from 'node:worker_threads';
${enumOf('Said')}
if (parentPort !== null) parentPort.postMessage(Kind[Kind.Said]);
else process.send!(Kind[Kind.Said], () => process.exit(0));
`,
  'thread.ts': `import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
export const inThread = (): Promise<string> =>
  once(new Worker(new URL('./said.ts', import.meta.url)), 'message').then(
    ([text]) => text,
    (error: Error) => error.message,
  );
if (process.argv[1]!.endsWith('thread.ts')) console.log(await inThread());
`,
};

let project: UserProject;
let test: ServeTest;
let client: Client<string, string>;

beforeAll(async () => {
  project = new UserProject(FILES);
  test = new ServeTest();
  await test.ready(test.startBuilt(['serve', 'graph.ts'], project.folder), 'typescript');
  client = await (await test.runtime('typescript')).endpoint<string, string>('dynamo.front.generate').client();
  await client.waitForInstances();
});

afterAll(async () => {
  await client?.close();
  await test?.[Symbol.asyncDispose]();
  project?.[Symbol.dispose]();
});

describe('a worker in TypeScript of the installed package', () => {
  it.each([
    ['a module that it imports', 'import', 'Imported'],
    ['a module that it imports later', 'late', 'Late'],
    ['a CommonJS module that it requires', 'require', 'Required'],
    ['a process that it forks', 'process', 'Said'],
  ])('runs the TypeScript of %s', async (_, way, expected) => {
    expect(await client.unary(way)).toBe(expected);
  });

  it('runs a thread as tsx does, which needs Node.js 22.22.3, 24.11.1 or 25.1 for TypeScript in it', async () => {
    const { stdout } = await execute(process.execPath, ['--import', 'tsx', 'thread.ts'], { cwd: project.folder });
    expect(await client.unary('thread')).toBe(stdout.trim());
  });

  it('has the URL of its source, and the places of its source in errors', async () => {
    const graph = join(project.folder, 'graph.ts');
    expect(await client.unary('url')).toBe(graph);
    expect(await client.unary('place')).toContain(`${graph}:${PLACE_LINE}:`);
  });
});
