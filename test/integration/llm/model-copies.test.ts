import { cpSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Frontend, registerModel } from 'dynamo-node';
import { describe, expect, it } from 'vitest';

import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { cardOf, chat, type Deployment, deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';
import { warnings } from '../../helpers/warnings.js';

const deployment = deployments();

function copy(): string {
  const folder = join(temporaryFolder(), 'copy');
  cpSync(modelPath, folder, { recursive: true });
  return realpathSync(folder);
}

function otherCopy(): string {
  const folder = copy();
  writeFileSync(join(folder, 'generation_config.json'), '{"eos_token_id":[2,3]}');
  return folder;
}

/** Registers the model in a folder on a new runtime. */
async function register(here: Deployment, folder: string): Promise<bigint> {
  const runtime = await here.runtime();
  const endpoint = runtime.endpoint('test.copies.generate');
  await endpoint.serve(() => 1);
  await registerModel(endpoint, { modelPath: folder, modelName: 'copies' });
  return runtime.instanceId;
}

const pathOf = (here: Deployment, id: bigint): unknown => cardOf(here, id)['source_path'];

/** The path of a worker's card, or undefined while the card is replaced. */
function pathNow(here: Deployment, id: bigint): unknown {
  try {
    return pathOf(here, id);
  } catch {
    return undefined;
  }
}

const enginesIn = (paths: readonly string[]) => paths.map((path) => ({ path, engine: new CountingEngine('copies') }));
type Served = ReturnType<typeof enginesIn>;

/** Sends requests until each engine has had one. */
async function useEach(frontend: Frontend, engines: Served): Promise<void> {
  await frontend.waitForModel('copies');
  await waitFor(
    'a request for each worker',
    async () => {
      await chat(frontend, { model: 'copies', max_tokens: 1 });
      return engines.map(({ engine }) => engine.seen.length);
    },
    (counts) => counts.every((count) => count > 0),
    60_000,
  );
}

type Worker = Awaited<ReturnType<Deployment['serve']>>;

/** Waits until the cards of the workers have one path. Workers that register at the same moment may agree later. */
const agreed = (here: Deployment, served: readonly Worker[]) =>
  waitFor(
    'one path',
    () => [...new Set(served.map(({ runtime }) => pathNow(here, runtime.instanceId)))],
    (paths) => paths.length === 1 && paths[0] !== undefined,
    60_000,
  );

describe('equal copies of a model in other folders', () => {
  it('share the requests of a frontend, and are no conflict', async () => {
    const reports = warnings('DYN_CARD_CONFLICT');
    const here = deployment();
    const engines = enginesIn([modelPath, copy()]);
    const served = await Promise.all(engines.map(({ engine, path }) => here.serve(engine, { modelPath: path })));
    await agreed(here, served);
    await useEach(await here.frontend(), engines);
    expect(served.flatMap(({ worker }) => worker.cardConflicts)).toEqual([]);
    expect(reports).toEqual([]);
  });

  it('share the requests of a frontend that runs before them, if six start at the same time', async () => {
    const here = deployment();
    const frontend = await here.frontend();
    const engines = enginesIn([modelPath, copy(), copy(), copy(), copy(), copy()]);
    const served = await Promise.all(engines.map(({ engine, path }) => here.serve(engine, { modelPath: path })));
    await agreed(here, served);
    await useEach(frontend, engines);
  });

  it('share the requests of a frontend that runs before them, if they join one by one', async () => {
    const here = deployment();
    const frontend = await here.frontend();
    for (const engine of enginesIn([copy(), copy(), modelPath])) {
      await here.serve(engine.engine, { modelPath: engine.path });
      await useEach(frontend, [engine]);
    }
  });

  it.each([
    ['a smaller path', () => [modelPath, copy()].sort() as [string, string]],
    ['a greater path', () => [modelPath, copy()].sort().reverse() as [string, string]],
  ])('take the path of the worker that registered first: %s', async (_, folders) => {
    const here = deployment();
    const [first, second] = folders();
    const ids = [await register(here, first), await register(here, second)] as const;
    expect(ids.map((id) => pathOf(here, id))).toEqual([first, first]);
    expect(JSON.stringify(cardOf(here, ids[1])), 'its own files').toContain(`${second}/tokenizer.json`);
  });

  it('do not take the path of a folder with another file', async () => {
    const here = deployment();
    const [first, second] = [otherCopy(), modelPath];
    const ids = [await register(here, first), await register(here, second)];
    expect(ids.map((id) => pathOf(here, id))).toEqual([first, second]);
  });
});
