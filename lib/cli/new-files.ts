/** What the files of a new project name. */
export interface ProjectNames {
  /** The name of the package. */
  readonly name: string;
  /** The name of the graph, for which fewer characters are allowed. */
  readonly graphName: string;
  /** What package.json names as `dynamo-node`. */
  readonly dependency: string;
}

/** Checks requests: what a graph needs besides this package. */
const SCHEMAS = { zod: '^4.0.0' } as const;

/** Versions with which the project was tried. Vite 8 leaves decorators in its output, which then do not run. */
const DEVELOPMENT = {
  '@types/node': '^20.19.0',
  tsx: '^4.20.0',
  typescript: '^5.9.0 || ^6.0.0',
  vite: '^7.3.0',
  vitest: '^4.1.0',
} as const;

/** The files of a new project by their paths. */
export function projectFiles(names: ProjectNames): Readonly<Record<string, string>> {
  return {
    'package.json': packageJson(names),
    'tsconfig.json': TSCONFIG,
    'worker.ts': WORKER,
    'graph.ts': graphFile(names),
    'graph.test.ts': TEST,
    'README.md': readme(names),
    '.gitignore': 'node_modules/\ndist/\n.env\n',
  };
}

const json = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;

const packageJson = ({ name, dependency }: ProjectNames): string =>
  json({
    name,
    version: '0.1.0',
    private: true,
    type: 'module',
    engines: { node: '>=20.3' },
    dynamo: { graph: 'graph.ts' },
    scripts: { start: 'dynamo serve .', test: 'tsc --noEmit && vitest run', build: 'dynamo build .' },
    dependencies: { 'dynamo-node': dependency, ...SCHEMAS },
    devDependencies: DEVELOPMENT,
  });

const TSCONFIG = json({
  compilerOptions: {
    target: 'ES2022',
    lib: ['ES2023', 'ESNext.Disposable', 'ESNext.Decorators'],
    module: 'NodeNext',
    moduleResolution: 'NodeNext',
    types: ['node'],
    strict: true,
    skipLibCheck: true,
    verbatimModuleSyntax: true,
    outDir: 'dist',
  },
  include: ['*.ts'],
});

const WORKER = `import { endpoint, service } from 'dynamo-node/sdk';
import { z } from 'zod';

/** A request. One without these fields is refused before it reaches a method. */
export const Question = z.object({ text: z.string() });
export type Question = z.infer<typeof Question>;

/** Answers word by word. Replace the loop by your model. */
@service()
export class Worker {
  @endpoint({ input: Question })
  async *generate(question: Question): AsyncGenerator<string> {
    for (const word of question.text.split(' ')) yield word.toUpperCase();
  }
}
`;

const graphFile = ({
  graphName,
}: ProjectNames): string => `import { type ClientOf, depends, endpoint, graph, service } from 'dynamo-node/sdk';
import { Question, Worker } from './worker.js';

/** Receives the requests of clients, and lets a worker answer them. */
@service({ role: 'frontend' })
export class Frontend {
  @depends(Worker) readonly worker!: ClientOf<Worker>;

  @endpoint({ transports: ['dynamo', 'http'], input: Question })
  async *chat(question: Question): AsyncGenerator<string> {
    yield* this.worker.generate(question);
  }
}

export default graph('${graphName}', Frontend);
`;

const TEST = `import { startGraph } from 'dynamo-node/testing';
import { expect, it } from 'vitest';
import graph, { Frontend } from './graph.js';

it('answers through both services', async () => {
  await using running = await startGraph(graph);
  const frontend = await running.client(Frontend);
  expect(await frontend.chat({ text: 'hello dynamo' }).collect()).toEqual(['HELLO', 'DYNAMO']);
});

it('refuses a request without a text, and names the field', async () => {
  await using running = await startGraph(graph);
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(new URL('/chat', running.url), { method: 'POST', headers, body: '{}' });
  expect(answer.status).toBe(400);
  expect(await answer.text()).toContain('request.text');
});
`;

const readme = ({ name }: ProjectNames): string => `# ${name}

A graph of two services in TypeScript, on NVIDIA Dynamo.

| File | Content |
| --- | --- |
| \`graph.ts\` | The frontend and the graph |
| \`worker.ts\` | The worker that answers |
| \`graph.test.ts\` | A test of both, in one process |

\`\`\`sh
npm install
npm test                     # checks the types and runs the test
npm start                    # runs each service in its own process, until Ctrl-C
curl -N http://127.0.0.1:8000/chat -H 'content-type: application/json' -d '{"text":"hello dynamo"}'
npx dynamo graph .           # shows the services
npx dynamo serve . --Worker.ServiceArgs.workers=2
npx dynamo build .           # packages the graph
npx dynamo doctor            # what this machine has and lacks
\`\`\`
`;
