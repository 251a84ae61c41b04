import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FAULTS, FaultyDeployment, type Outcome, PHASES, type Style, VICTIMS } from './faults.js';

const STYLES: readonly Style[] = ['first', 'together'];
const TRIALS = VICTIMS.flatMap((victim) =>
  FAULTS.flatMap((fault) => PHASES.map((phase) => [victim, fault, phase] as const)),
);

describe.each(STYLES)('a disaggregated deployment whose prefill comes %s', (style) => {
  let deployment: FaultyDeployment | undefined;
  const outcomes: [string, Outcome][] = [];

  beforeAll(async () => {
    deployment = await FaultyDeployment.start('mock', style);
  });
  afterAll(async () => {
    await deployment?.close();
    const failed = outcomes.filter(([, outcome]) => outcome === 'failed').length;
    console.log(`${outcomes.length} faults: ${failed} requests failed, all others were answered rightly`);
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
