/** The planners and rules that a simulation compares. */
export const PLANNERS = ['sla', 'throughput', 'latency', 'python-sla', 'python-throughput', 'python-latency'] as const;

/** A planner of this package by its objective, or a rule of Dynamo's Python planner. */
export type PlannerName = (typeof PLANNERS)[number];
