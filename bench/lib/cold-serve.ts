import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { esbuildOf } from '../../lib/deploy/artifact-modules.js';
import { peerEnvironment } from '../../test/helpers/interop/peers.js';
import { Peer, root } from './peer.js';
import { ratio, type Spread, spread } from './stats.js';

/** What starts the same graph of five workers. */
const STARTS = ['javascript', 'typescript', 'python'] as const;
type Start = (typeof STARTS)[number];

const PEERS = `${root}bench/peers/cold`;
const CLI = `${root}dist/cli/main.js`;
const STOP_MS = 30_000;
const MAX_OUTPUT_CHARACTERS = 4000;

/** Times from the start of the command to the first answered request, in milliseconds. */
export interface ColdServe {
  readonly ms: Readonly<Record<Start, Spread>>;
  /** As a part of the time that Python needed in the same round. */
  readonly overPython: Readonly<Record<Exclude<Start, 'python'>, Spread>>;
}

/** A project with the graph in TypeScript, and in JavaScript as an artifact has it. */
async function writeProject(folder: string): Promise<void> {
  const source = readFileSync(`${PEERS}/graph.ts`, 'utf8');
  const options = { entryPoints: [`${PEERS}/graph.ts`], outdir: folder, write: false, format: 'esm', target: 'node20' };
  const { outputFiles } = await esbuildOf(root).build(options);
  writeFileSync(join(folder, 'graph.ts'), source);
  writeFileSync(join(folder, 'graph.js'), outputFiles[0]?.text ?? '');
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(root, join(folder, 'node_modules/dynamo-node'));
  symlinkSync(`${root}node_modules/tsx`, join(folder, 'node_modules/tsx'));
}

const COMMANDS: Readonly<Record<Start, readonly string[]>> = {
  javascript: [process.execPath, CLI, 'serve', 'graph.js'],
  typescript: [process.execPath, CLI, 'serve', 'graph.ts'],
  python: ['sh', `${PEERS}/start.sh`, `${root}.peers/bin/python`],
};

/** Starts one graph with nothing running, and ends it after its first answer. */
async function timeOf(start: Start, project: string): Promise<number> {
  const folder = mkdtempSync(join(project, `${start}-`));
  const discovery = join(folder, 'discovery');
  mkdirSync(discovery);
  const words = ['dynamo.front.generate', 'a cold start', 'A-COLD-START'] as const;
  const caller = Peer.node('caller', discovery, 'first-answer.mjs', ...words);
  await caller.started();
  const [program, ...args] = COMMANDS[start] as [string, ...string[]];
  const env = { ...peerEnvironment(discovery), DYN_LOCAL_STATE_DIR: folder, DYN_LOG: 'error', NODE_OPTIONS: '' };
  const begin = Date.now();
  const child = spawn(program, args, { cwd: project, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  const ended = once(child, 'close');
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-MAX_OUTPUT_CHARACTERS);
    });
  try {
    const { at } = await caller.call<{ at: number }>({});
    return at - begin;
  } catch (cause) {
    throw new Error(`${args.join(' ')} gave no answer; its output ends with:\n${output}`, { cause });
  } finally {
    const signal = (name: NodeJS.Signals): void => {
      try {
        process.kill(-(child.pid as number), name);
      } catch {
        // All have ended.
      }
    };
    signal('SIGTERM');
    const timer = setTimeout(() => signal('SIGKILL'), STOP_MS);
    await ended;
    clearTimeout(timer);
    await caller.stop();
  }
}

/** Rounds in which each start has its turn. */
export async function measureColdServe(rounds: number): Promise<ColdServe> {
  const project = mkdtempSync(join(tmpdir(), 'dynamo-cold-'));
  try {
    await writeProject(project);
    const times: Record<Start, number[]> = { javascript: [], typescript: [], python: [] };
    for (const start of STARTS) await timeOf(start, project);
    for (let round = 0; round < rounds; round++)
      for (let turn = 0; turn < STARTS.length; turn++) {
        const start = STARTS[(turn + round) % STARTS.length] as Start;
        times[start].push(await timeOf(start, project));
      }
    const { javascript, typescript, python } = times;
    return {
      ms: { javascript: spread(javascript), typescript: spread(typescript), python: spread(python) },
      overPython: { javascript: ratio(javascript, python), typescript: ratio(typescript, python) },
    };
  } finally {
    rmSync(project, { recursive: true, force: true });
  }
}
