/** A queue with several servers, in front of which requests wait. */
export interface Queue {
  readonly servers: number;
  /** Requests per millisecond. */
  readonly rate: number;
  /** The mean time of a request on a server. */
  readonly serviceMs: number;
  /**
   * The squared coefficients of variation of arrivals and of service times, as a mean. 1 is Poisson and exponential.
   */
  readonly variability: number;
}

export const utilizationOf = ({ servers, rate, serviceMs }: Queue): number => (rate * serviceMs) / servers;

/**
 * The probability that a request waits longer. Source of the formulae: Sakasegawa's approximation of a wait in a queue
 * with several servers; the wait of those that wait is taken as exponential.
 */
export function waitProbability(queue: Queue, longerThanMs: number): number {
  const { servers, serviceMs, variability } = queue;
  const utilization = utilizationOf(queue);
  if (utilization >= 1) return 1;
  if (longerThanMs < 0) return 1;
  if (utilization <= 0) return 0;
  const waits = utilization ** (Math.sqrt(2 * (servers + 1)) - 1);
  const meanWaitMs = (serviceMs * variability) / (servers * (1 - utilization));
  return waits * Math.exp(-longerThanMs / meanWaitMs);
}

/** The value below which a standard normal variable lies with this probability, from 0.5. Error below 0.0005. */
export function normalQuantile(probability: number): number {
  const t = Math.sqrt(-2 * Math.log(Math.max(1e-12, 1 - probability)));
  const above = 2.515517 + t * (0.802853 + t * 0.010328);
  const below = 1 + t * (1.432788 + t * (0.189269 + t * 0.001308));
  return t - above / below;
}
