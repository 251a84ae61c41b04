import { describe, expect, it } from 'vitest';
import { PlannerClaim } from '../../../lib/deploy/local/planner-claim.js';

describe('the claim of a planner', () => {
  it('refuses another planner until the first one has not been heard of for 30 s', () => {
    const claim = new PlannerClaim();
    claim.renew('one', 0);
    expect(() => claim.renew('two', 29_000)).toThrow(
      expect.objectContaining({ code: 'E_PLANNER_CONFLICT', exitCode: 73, message: 'planner one scales this graph' }),
    );
    claim.renew('one', 5000);
    expect(() => claim.renew('two', 34_000)).toThrow('planner one scales this graph');
    claim.renew('two', 35_000);
    expect(() => claim.renew('one', 36_000)).toThrow('planner two scales this graph');
  });

  it('lasts three intervals of a planner that decides more rarely', () => {
    const claim = new PlannerClaim();
    const scales = (planner: string, seconds: number): boolean => {
      try {
        claim.renew(planner, seconds * 1000);
        return true;
      } catch {
        return false;
      }
    };
    // Two planners that decide every 60 s: at first they take turns, then one has the graph.
    const turns = Array.from({ length: 20 }, (_, turn) => (turn % 2 === 0 ? 'one' : 'two'));
    const granted = turns.filter((planner, turn) => scales(planner, turn * 30 + (turn % 2) * 5));
    expect(new Set(granted.slice(-8)).size).toBe(1);
    expect(granted.length).toBeGreaterThan(8);
  });

  it('never refuses a person', () => {
    const claim = new PlannerClaim();
    claim.renew('one', 0);
    claim.renew(undefined, 1);
    expect(() => claim.renew(5 as never, 1)).toThrow('planner: expected a string, got 5');
  });
});
