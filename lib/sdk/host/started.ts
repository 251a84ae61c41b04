import type { CloseOptions } from '../../runtime/close-options.js';
import type { GraphSpec } from '../graph-spec.js';
import type { ServiceContext } from '../service-context.js';

/** The running program of a service. */
export interface StartedProgram {
  /** The address for HTTP clients, if it has one. */
  readonly url?: string | undefined;
  /** Settles when the program ends by itself. */
  readonly ended?: Promise<void>;
  /** Takes no further requests, and completes those in flight. */
  close(options: CloseOptions): Promise<void>;
  /** Runs after `close`, when the signal of the service is aborted. */
  shutdown?(): Promise<void>;
}

/** Runs the planner of a graph, by the options of its service. */
export type StartPlanner = (options: object, context: ServiceContext, graph: GraphSpec) => Promise<StartedProgram>;
