import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CardConflict, KvRouter, type LlmRegistration, registerModel } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { modelPath } from '../../../examples/tiny-llama/engine.js';
import { type Deployment, deployments } from '../../helpers/llm/deployments.js';
import { CountingEngine } from '../../helpers/llm/engines.js';
import { temporaryFolder } from '../../helpers/runtime/runtime.js';
import { waitFor } from '../../helpers/wait.js';
import { warnings } from '../../helpers/warnings.js';

const deployment = deployments();
const PATH = 'test.backend.generate';

class Engine extends CountingEngine {
  constructor(private readonly more: LlmRegistration = {}) {
    super('model');
  }

  override start() {
    const { llm, ...rest } = super.start();
    return { ...rest, llm: { ...llm, ...this.more } };
  }
}

interface Sides {
  readonly own: string | undefined;
  readonly other: string | undefined;
}

/** Serves two workers, the second with other options, and returns what each sees of the other. */
async function pair(here: Deployment, llm: LlmRegistration, path = modelPath) {
  const changes: (readonly CardConflict[])[] = [];
  const one = await here.serve(new Engine(), { onCardConflicts: (conflicts) => changes.push(conflicts) });
  const two = await here.serve(new Engine(llm), { modelPath: path });
  return { one, two, changes };
}

describe('a worker whose model card differs from that of another', () => {
  it.each<[string, LlmRegistration, Record<string, Sides>]>([
    ['block size', { kvCacheBlockSize: 32 }, { kvCacheBlockSize: { own: '16', other: '32' } }],
    ['context length', { contextLength: 64 }, { contextLength: { own: '4096', other: '64' } }],
  ])('reports it to both, with both values: %s', async (_, llm, expected) => {
    const reports = warnings('DYN_CARD_CONFLICT');
    const here = deployment();
    const { one, two, changes } = await pair(here, llm);
    const [own, other] = await waitFor(
      'the conflicts',
      () => [one.worker.cardConflicts, two.worker.cardConflicts] as const,
      (both) => both.every(({ length }) => length === 1),
    );
    expect(own).toEqual([{ instanceId: two.runtime.instanceId, model: 'model', differences: expected }]);
    const swapped = Object.entries(expected).map(([name, sides]) => [name, { own: sides.other, other: sides.own }]);
    expect(other).toEqual([
      { instanceId: one.runtime.instanceId, model: 'model', differences: Object.fromEntries(swapped) },
    ]);
    await waitFor('both reports', () => reports.length === 2);
    const messages = reports.map(({ message }) => message).join('\n');
    for (const [name, sides] of Object.entries(expected)) {
      const [first, second] = [JSON.stringify(sides.own), JSON.stringify(sides.other)];
      expect(messages).toContain(`${name} is ${first} here and ${second} there`);
      expect(messages).toContain(`${name} is ${second} here and ${first} there`);
    }
    expect(await one.runtime.metricsText()).toMatch(/model_card_conflicts\{[^}]*\} 1/);
    await two.worker.close();
    await waitFor('the end', () => one.worker.cardConflicts.length === 0);
    expect(changes.at(-1)).toEqual([]);
    expect(changes.filter(({ length }) => length === 1)).toHaveLength(1);
    expect(await one.runtime.metricsText()).toMatch(/model_card_conflicts\{[^}]*\} 0/);
  });

  it('reports a folder with another file', async () => {
    const path = join(temporaryFolder(), 'other');
    cpSync(modelPath, path, { recursive: true });
    writeFileSync(join(path, 'generation_config.json'), '{"eos_token_id":[2,3]}');
    const { one } = await pair(deployment(), {}, path);
    const [conflict] = await waitFor(
      'the conflict',
      () => one.worker.cardConflicts,
      ({ length }) => length === 1,
    );
    expect(Object.keys(conflict?.differences ?? {}).sort()).toEqual(['generationConfig', 'modelPath']);
    expect(conflict?.differences['modelPath']).toEqual({ own: modelPath, other: path });
  });

  it('has no conflict with an equal worker, another model or another worker type', async () => {
    const here = deployment();
    const { one, two, changes } = await pair(here, {});
    const decode = await here.serve(new Engine({ contextLength: 64 }), { workerType: 'decode' });
    const other = await here.serve(new Engine({ contextLength: 64 }), { endpoint: 'test.other.generate' });
    const late = await here.serve(new Engine({ contextLength: 64 }));
    await waitFor('the last worker', () => one.worker.cardConflicts.length > 0);
    expect(one.worker.cardConflicts.map(({ instanceId }) => instanceId)).toEqual([late.runtime.instanceId]);
    expect(changes).toHaveLength(1);
    await waitFor('the same', () => two.worker.cardConflicts.length === 1);
    expect([decode.worker.cardConflicts, other.worker.cardConflicts]).toEqual([[], []]);
  });

  it('is reported if `registerModel` registered it', async () => {
    const reports = warnings('DYN_CARD_CONFLICT');
    const here = deployment();
    for (const kvCacheBlockSize of [16, 32]) {
      const endpoint = (await here.runtime()).endpoint(PATH);
      await endpoint.serve(() => 1);
      await registerModel(endpoint, { modelPath, modelName: 'model', kvCacheBlockSize });
    }
    await waitFor('both reports', () => reports.length === 2);
    expect(reports[1]?.message).toMatch(/kvCacheBlockSize is "(16|32)" here and "(16|32)" there/);
  });
});

describe('a KV router whose block size differs from that of a card', () => {
  it('is reported once, with both values', async () => {
    const reports = warnings('DYN_BLOCK_SIZE');
    const here = deployment();
    const [first, second] = [await here.serve(new Engine()), await here.serve(new Engine())];
    const make = async (blockSize: number) => {
      const router = await KvRouter.create((await here.runtime()).endpoint(PATH), { blockSize });
      onTestFinished(() => router.close());
      await waitFor(
        'both workers',
        async () => (await router.overlapScores({ tokens: Uint32Array.of(1) })).length,
        (count) => count === 2,
      );
    };
    await make(16);
    await make(32);
    await waitFor('the report', () => reports.length > 0);
    const ids = [first, second].map(({ runtime }) => runtime.instanceId).join('|');
    expect(reports).toHaveLength(1);
    expect(reports[0]?.message).toMatch(
      new RegExp(`^the KV router of ${PATH} has blocks of 32 tokens, but the model card of worker (${ids}) says 16: `),
    );
  });
});
