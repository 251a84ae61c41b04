import { checkString } from '../../check.js';
import { DeployError } from '../deploy-error.js';

/** A planner that has not been heard of for this long, and for three of its intervals, has ended. */
const CLAIM_MS = 30_000;
const INTERVALS = 3;

/** The right to scale a graph, which one planner has at a time. People may always scale. */
export class PlannerClaim {
  #planner: string | undefined;
  #renewedMs = 0;
  #untilMs = 0;

  /**
   * Grants or renews the claim.
   *
   * @param planner the id of a planner, which its restarts keep; undefined for a person
   * @throws DeployError `E_PLANNER_CONFLICT` (73) while another planner has it
   */
  renew(planner: string | undefined, nowMs = performance.now()): void {
    if (planner === undefined) return;
    checkString('planner', planner);
    if (this.#planner !== planner && nowMs < this.#untilMs)
      throw new DeployError('E_PLANNER_CONFLICT', `planner ${this.#planner} scales this graph`, { exitCode: 73 });
    const intervalMs = this.#planner === planner ? nowMs - this.#renewedMs : 0;
    this.#planner = planner;
    this.#renewedMs = nowMs;
    this.#untilMs = nowMs + Math.max(CLAIM_MS, INTERVALS * intervalMs);
  }
}
