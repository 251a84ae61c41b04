import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadNixl, NixlLoadError } from 'dynamo-node';
import { handoffGoals, handoffRows, measureHandoffs } from './lib/handoffs.js';
import {
  DEPLOYMENTS,
  LLAMAS,
  MIXED_FIELDS,
  type MixedField,
  type MixedFigures,
  MOCKERS,
  measureMixed,
  mixedRows,
  mixedSpread,
} from './lib/mixed-pools.js';
import { pythonMissing, root } from './lib/peer.js';
import { measurePlain, plainGoals, plainRows } from './lib/plain-workers.js';
import type { Bench } from './lib/result.js';
import { withMockerVocabulary } from './lib/vocabulary.js';

function mixedFigure(figures: MixedFigures): object {
  const { pool, rates, seconds } = figures;
  const { name, kinds, conditional } = pool;
  const of = (deployment: (typeof DEPLOYMENTS)[number]): object =>
    Object.fromEntries(
      (Object.keys(MIXED_FIELDS) as MixedField[]).map((field) => [field, mixedSpread(figures, deployment, field)]),
    );
  return {
    pool: name,
    ...{ kinds, conditional, rates, seconds },
    ...Object.fromEntries(DEPLOYMENTS.map((deployment) => [deployment, of(deployment)])),
  };
}

/** Prefill and decode on the same workers and on separate ones, and what the handoff between these costs. */
export const disagg: Bench = async ({ quick }) => {
  if (pythonMissing !== undefined) return { skipped: pythonMissing };
  let library: string;
  try {
    ({ path: library } = loadNixl({ mode: 'real' }));
  } catch (error) {
    if (error instanceof NixlLoadError) return { skipped: 'the NIXL library is not installed' };
    throw error;
  }
  const folder = mkdtempSync(join(tmpdir(), 'dynamo-bench-'));
  withMockerVocabulary(`${root}examples/tiny-llama/model`, folder);
  try {
    const dir = join(folder, 'pools');
    mkdirSync(dir);
    const handoffs = await measureHandoffs(dir, library, quick);
    const plain = await measurePlain(folder, quick);
    const mixed: MixedFigures[] = [];
    for (const pool of [MOCKERS, LLAMAS]) mixed.push(await measureMixed(pool, folder, quick));
    return {
      settings: {
        arrivals: 'Poisson, the same for all deployments of a round; two workers in each deployment',
        library: library.replace(/^.*\/site-packages\//, ''),
        handoffs: handoffs.settings,
      },
      figures: [...mixed.map(mixedFigure), ...plain, ...handoffs.bandwidths, handoffs.handoff],
      goals: [...handoffGoals(handoffs), ...plainGoals(plain)],
      charts: mixed.map((figures) => ({
        title: `Mixed load on two workers of the ${figures.pool.name}, ms`,
        logarithmic: true,
        series: [...DEPLOYMENTS],
        groups: (Object.keys(MIXED_FIELDS) as MixedField[]).map((field) => ({
          name: MIXED_FIELDS[field].replace(', ms', '').split(/: |, /),
          values: DEPLOYMENTS.map((name) => mixedSpread(figures, name, field)),
        })),
      })),
      columns: ['aggregated, or here', 'disaggregated, or the other program', 'conditional, or the ratio'],
      rows: [...mixed.flatMap(mixedRows), ...plainRows(plain), ...handoffRows(handoffs)],
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};
