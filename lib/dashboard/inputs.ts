import type { RunState } from '../deploy/local/run-folder.js';
import type { GraphSpec } from '../sdk/graph-spec.js';
import type { DecisionView, FlowView, KvView, LatencyView, SourceView, TraceView, TransferView } from './view.js';

/** An instance in discovery. */
export interface DiscoveredInstance {
  readonly namespace: string;
  readonly component: string;
  readonly endpoint: string;
  /** In decimal. */
  readonly instanceId: string;
  readonly address: string;
}

/** What is measured of an instance. Of sources that know the same, events come before its metrics and frontends. */
export interface InstanceFigures {
  readonly flow?: FlowView;
  readonly kv?: KvView;
  readonly lastTtftMs?: number;
  readonly lastItlMs?: number;
  readonly passMs?: number;
  readonly metricsAgeMs?: number;
  readonly transfers?: TransferView;
  /** What frontends call it: `prefill` or `decode`. */
  readonly workerType?: string;
}

/** What the frontends know since the last snapshot, all together. */
export interface FrontendFigures {
  readonly flow: FlowView;
  readonly ttft?: LatencyView;
  readonly itl?: LatencyView;
  readonly hitRate?: number;
  readonly models: readonly string[];
  /** Tokens in a block, by the name of the model. */
  readonly blockSizes: Readonly<Record<string, number>>;
  /** Of one worker of a model, by the name of the model. */
  readonly totalBlocks: Readonly<Record<string, number>>;
}

/** A frontend that no supervisor of this machine runs. */
export interface OuterFrontend {
  readonly url: string;
  readonly isAnswering: boolean;
}

/** All that a snapshot is made from. */
export interface SnapshotInputs {
  readonly sequence: number;
  /** Milliseconds since 1970. */
  readonly atMs: number;
  /** The name, if there is no graph of this machine. */
  readonly name: string;
  /** The graph as its supervisor runs it. */
  readonly spec?: GraphSpec | undefined;
  readonly run?: RunState | undefined;
  /** Whether the supervisor has ended. */
  readonly isGone: boolean;
  readonly instances: readonly DiscoveredInstance[];
  readonly frontends: readonly OuterFrontend[];
  /** By `Service#0` and by instance id in decimal. */
  readonly figures: ReadonlyMap<string, InstanceFigures>;
  /** Absent until the frontends have answered twice. */
  readonly traffic?: FrontendFigures | undefined;
  readonly decisions: readonly DecisionView[];
  readonly traces: readonly TraceView[];
  readonly sources: readonly SourceView[];
  /** Besides those that follow from the sources. */
  readonly warnings: readonly string[];
  readonly canTrace: boolean;
}
