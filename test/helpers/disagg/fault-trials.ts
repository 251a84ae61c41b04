import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nixlMissing } from '../nixl/library.js';
import { FAULTS, FaultyDeployment, type Outcome, PHASES, type Style, VICTIMS } from './faults.js';

const STYLES: readonly Style[] = ['first', 'together'];
const missing = nixlMissing();
if (missing !== undefined) console.log(`skipped with NIXL: ${missing}`);
const LIBRARIES = missing === undefined ? (['mock', 'real'] as const) : (['mock'] as const);
const DEPLOYMENTS = LIBRARIES.flatMap((nixl) => STYLES.map((style) => [nixl, style] as const));
const TRIALS = VICTIMS.flatMap((victim) =>
  FAULTS.flatMap((fault) => PHASES.map((phase) => [victim, fault, phase] as const)),
);

describe.each(DEPLOYMENTS)('a disaggregated deployment over the %s library whose prefill comes %s', (nixl, style) => {
  let deployment: FaultyDeployment | undefined;
  const outcomes: [string, Outcome][] = [];

  beforeAll(async () => {
    deployment = await FaultyDeployment.start(nixl, style);
  });
  afterAll(async () => {
    await deployment?.close();
    const failed = outcomes.filter(([, outcome]) => outcome === 'failed').length;
    console.log(
      `${nixl}, ${style}: ${outcomes.length} faults: ${failed} requests failed, all others were answered rightly`,
    );
  });

  it.each(TRIALS)('ends the request and frees its blocks if the %s is %s in the phase %s', async (...trial) => {
    const outcome = (await deployment?.trial(...trial)) as Outcome;
    outcomes.push([trial.join(' '), outcome]);
    const [victim, fault, phase] = trial;
    const begun = victim === 'prefill' ? PHASES.indexOf('prefill') : PHASES.indexOf('transfer');
    // A drained worker completes what it has begun.
    if (fault === 'drained' && victim !== 'frontend' && PHASES.indexOf(phase) >= begun)
      expect([trial, outcome]).toEqual([trial, 'answered']);
  });
});
