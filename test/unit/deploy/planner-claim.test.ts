import { describe, expect, it } from 'vitest';
import { PlannerClaim } from '../../../lib/deploy/local/planner-claim.js';

describe('the claim of a planner', () => {
  it('refuses another planner until the first one has not been heard of for 30 s', () => {
    const claim = new PlannerClaim();
    claim.renew('one', 0);
    expect(() => claim.renew('two', 29_000)).toThrow(
      expect.objectContaining({ code: 'E_PLANNER_CONFLICT', exitCode: 73, message: 'planner one scales this graph' }),
    );
    claim.renew('one', 29_000);
    expect(() => claim.renew('two', 58_000)).toThrow('planner one scales this graph');
    claim.renew('two', 59_000);
    expect(() => claim.renew('one', 60_000)).toThrow('planner two scales this graph');
  });

  it('never refuses a person', () => {
    const claim = new PlannerClaim();
    claim.renew('one', 0);
    claim.renew(undefined, 1);
    expect(() => claim.renew(5 as never, 1)).toThrow('planner: expected a string, got 5');
  });
});
