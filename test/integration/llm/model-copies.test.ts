import { cpSync, realpathSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { registerModel } from 'dynamo-node';
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

describe('equal copies of a model in other folders', () => {
  it('share the requests of a frontend, and are no conflict', async () => {
    const reports = warnings('DYN_CARD_CONFLICT');
    const here = deployment();
    const engines = [modelPath, copy()].map((path) => ({ path, engine: new CountingEngine('copies') }));
    const served = await Promise.all(engines.map(({ engine, path }) => here.serve(engine, { modelPath: path })));
    const frontend = await here.frontend();
    await frontend.waitForModel('copies');
    await waitFor(
      'a request for each worker',
      async () => {
        await chat(frontend, { model: 'copies', max_tokens: 1 });
        return engines.map(({ engine }) => engine.seen.length);
      },
      (counts) => counts.every((count) => count > 0),
      30_000,
    );
    expect(new Set(served.map(({ runtime }) => pathOf(here, runtime.instanceId))).size).toBe(1);
    expect(served.flatMap(({ worker }) => worker.cardConflicts)).toEqual([]);
    expect(reports).toEqual([]);
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
