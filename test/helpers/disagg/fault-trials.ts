import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nixlMissing } from '../nixl/library.js';
import {
  FAULTS,
  type Fault,
  FaultyDeployment,
  type Outcome,
  PHASES,
  type Phase,
  type Style,
  VICTIMS,
  type Victim,
} from './faults.js';

type Trial = readonly [Victim, Fault, Phase];

const TRIALS: readonly Trial[] = VICTIMS.flatMap((victim) =>
  FAULTS.flatMap((fault) => PHASES.map((phase) => [victim, fault, phase] as const)),
);

const titleOf = ([victim, fault, phase]: Trial): string =>
  `ends the request and frees its blocks if the ${victim} is ${fault} in the phase ${phase}`;

/** Makes each fault in each phase of a request. */
export function describeFaults(nixl: 'mock' | 'real', style: Style): void {
  describe(`a disaggregated deployment over the ${nixl} library whose prefill comes ${style}`, () => {
    const missing = nixl === 'real' ? nixlMissing() : undefined;
    let deployment: FaultyDeployment | undefined;
    const outcomes: [string, Outcome][] = [];

    beforeAll(async () => {
      if (missing !== undefined) return;
      deployment = await FaultyDeployment.start(nixl, style);
    });
    afterAll(async () => {
      await deployment?.close();
      const failed = outcomes.filter(([, outcome]) => outcome === 'failed').length;
      console.log(
        `${nixl}, ${style}: ${outcomes.length} faults: ${failed} requests failed, all others were answered rightly`,
      );
    });

    for (const trial of TRIALS)
      it(titleOf(trial), async ({ skip }) => {
        skip(missing !== undefined, missing);
        const outcome = (await deployment?.trial(...trial)) as Outcome;
        outcomes.push([trial.join(' '), outcome]);
        const [victim, fault, phase] = trial;
        const begun = victim === 'prefill' ? PHASES.indexOf('prefill') : PHASES.indexOf('transfer');
        // A drained worker completes what it has begun.
        if (fault === 'drained' && victim !== 'frontend' && PHASES.indexOf(phase) >= begun)
          expect([trial, outcome]).toEqual([trial, 'answered']);
      });
  });
}
