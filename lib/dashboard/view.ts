// What the page shows. Every string is data of others: a name, a log line or a reason may hold any text. This file
// imports nothing, because it is also compiled for browsers.

/** The part of a service in the graph; `unknown` if only discovery knows it. */
export type ViewRole = 'frontend' | 'worker' | 'prefill' | 'decode' | 'planner' | 'unknown';

/**
 * The phase of an instance. That of its process if this machine runs it. `present`: discovery lists it, and its process
 * is not known.
 */
export type InstancePhase =
  | 'waiting'
  | 'starting'
  | 'ready'
  | 'draining'
  | 'backing-off'
  | 'stopped'
  | 'failed'
  | 'present';

/** The requests of an instance or of the whole graph. */
export interface FlowView {
  /** Requests a second that began. */
  readonly requestsPerSecond?: number;
  /** Requests that are processed now. */
  readonly running?: number;
  /** Requests that wait for a worker, or in its queue. */
  readonly queued?: number;
  readonly inputTokensPerSecond?: number;
  readonly outputTokensPerSecond?: number;
}

/** A latency over the requests since the last snapshot. Absent fields are not known. */
export interface LatencyView {
  readonly meanMs: number;
  /** Estimated from the buckets of a histogram. */
  readonly p50Ms?: number;
  readonly p95Ms?: number;
}

/** The KV cache of an instance, or of all together. */
export interface KvView {
  readonly usedBlocks?: number;
  readonly totalBlocks?: number;
  /** The share of the blocks that is used, 0 to 1. */
  readonly usage?: number;
  /** The share of prompt tokens that were in the cache, 0 to 1. */
  readonly hitRate?: number;
}

/** What a worker has read from others, since its start. */
export interface TransferView {
  readonly count: number;
  readonly failures: number;
  readonly bytes: number;
  /** Since the last snapshot. */
  readonly bytesPerSecond: number;
  /** The mean time of a read, since its start. */
  readonly meanMs?: number;
  /** Bytes a second while a read runs, since its start. */
  readonly bandwidth?: number;
  /** What moves the bytes, such as `nixl`. */
  readonly transport: string;
}

/** One worker process, or one instance in discovery, or both if they are known to be the same. */
export interface InstanceView {
  /** Unique in the snapshot and stable: `Service#0` for a process of this machine, else the instance id in decimal. */
  readonly id: string;
  /** The `name` of its service. */
  readonly service: string;
  readonly number?: number;
  /** The id in discovery, in decimal, if it is known. */
  readonly instanceId?: string;
  readonly phase: InstancePhase;
  readonly pid?: number;
  readonly restarts?: number;
  /** For HTTP clients. Data: the page must check the protocol before it makes a link of it. */
  readonly url?: string;
  /** For requests, in the form of its transport. */
  readonly address?: string;
  readonly gpus?: readonly string[];
  /** Why it crashed or failed. */
  readonly reason?: string;
  /** Whether `/api/logs` has its output. */
  readonly hasLog: boolean;
  readonly flow: FlowView;
  /** The last time to the first token and inter-token latency that frontends saw of it. */
  readonly lastTtftMs?: number;
  readonly lastItlMs?: number;
  readonly kv: KvView;
  /** The duration of its last forward pass that was not idle. */
  readonly passMs?: number;
  /** The age of its last forward-pass metrics. */
  readonly metricsAgeMs?: number;
  readonly transfers?: TransferView;
}

/** A service of the graph, or an endpoint that only discovery knows. */
export interface ServiceView {
  /** Unique in the snapshot. */
  readonly name: string;
  readonly role: ViewRole;
  /** `namespace.component`. */
  readonly component?: string;
  /** What runs: `code`, `engine`, `builtIn`, `frontend`, `planner` or `python`. */
  readonly program?: string;
  /** Whether it receives the requests of users. */
  readonly isEntry: boolean;
  /** The number of workers that it was last set to, if a supervisor knows it. */
  readonly desired?: number;
  readonly ready: number;
  /** Whether `/api/scale` accepts it. */
  readonly canScale: boolean;
  readonly instances: readonly InstanceView[];
}

/** Who calls whom. `transfer`: KV blocks move from the first to the second. */
export interface EdgeView {
  readonly from: string;
  readonly to: string;
  readonly kind: 'request' | 'transfer';
  /** How an instance is chosen, such as `kv` or `round_robin`; absent if it is not known. */
  readonly mode?: string;
}

/** A decision of the planner. */
export interface DecisionView {
  readonly tick: number;
  /** Milliseconds since 1970. */
  readonly atMs: number;
  readonly outcome: 'unchanged' | 'scaled' | 'advisory' | 'failed';
  readonly pools: readonly {
    readonly role: string;
    readonly desired: number;
    readonly ready: number;
    readonly target: number;
  }[];
  readonly reasons: readonly { readonly role: string; readonly code: string; readonly text: string }[];
  readonly errors: readonly string[];
}

/**
 * From where a part of a trace is known. `client`: measured by this process, which sent the request. `frontend`: the
 * frontend measured it. `worker`: the worker measured it. `derived`: computed from others.
 */
export type TraceSource = 'client' | 'frontend' | 'worker' | 'derived';

/** One part of a request's way. Times are milliseconds since the request was sent. */
export interface TraceSpan {
  readonly name: 'request' | 'queue' | 'prefill' | 'wait' | 'transfer' | 'decode';
  readonly startMs: number;
  readonly endMs: number;
  readonly source: TraceSource;
  /** Whether it is an upper bound, or its place in time is assumed. */
  readonly isEstimate: boolean;
  /** The `id` of the instance, or its id in discovery if the snapshot does not have it. */
  readonly instance?: string;
  /** More in words. */
  readonly detail?: string;
}

/** One candidate of a router's choice. */
export interface RoutingCandidateView {
  /** As `instance` of a span. */
  readonly instance: string;
  readonly dpRank: number;
  readonly isWinner: boolean;
  /** Why the request must not go there. */
  readonly excluded?: string;
  readonly cachedBlocks: number;
  readonly prefill: number;
  readonly decode: number;
  readonly activeRequests: number;
  readonly cost: number;
}

/** Why a worker was chosen. */
export interface RoutingView {
  readonly service: string;
  readonly promptTokens: number;
  readonly promptBlocks: number;
  readonly reason: string;
  readonly candidates: readonly RoutingCandidateView[];
  /** From where it is known, in words. */
  readonly source: string;
}

/** One request that was traced. It has no text of the request. */
export interface TraceView {
  readonly id: string;
  /** When it was sent, in milliseconds since 1970. */
  readonly atMs: number;
  readonly model: string;
  readonly outcome: 'ok' | 'failed';
  /** Why it failed. */
  readonly error?: string;
  readonly inputTokens?: number;
  readonly outputTokens?: number;
  readonly cachedTokens?: number;
  readonly ttftMs?: number;
  readonly totalMs: number;
  /** The one named `request` is the first and contains all others. */
  readonly spans: readonly TraceSpan[];
  readonly routing?: RoutingView;
  /** What is not known, and why. */
  readonly notes: readonly string[];
}

/** One source of the snapshot. */
export interface SourceView {
  /** Such as `supervisor`, `discovery` or the URL of a frontend's metrics. */
  readonly name: string;
  readonly state: 'ok' | 'failed' | 'starting';
  /** Why it has failed. */
  readonly message?: string;
  /** Since when it has been in this state, in milliseconds since 1970. */
  readonly sinceMs: number;
}

/** The series of the history, in the order of a point's values. */
export const SERIES = [
  'requestsPerSecond',
  'running',
  'queued',
  'outputTokensPerSecond',
  'ttftP50Ms',
  'ttftP95Ms',
  'itlP50Ms',
  'itlP95Ms',
  'kvUsage',
  'hitRate',
  'transferBytesPerSecond',
  'readyInstances',
] as const;

/** The name of a series of the history. */
export type SeriesName = (typeof SERIES)[number];

/** The values of all series at one time; null if one is not known. */
export interface HistoryPoint {
  /** Seconds since 1970. */
  readonly time: number;
  readonly values: Readonly<Record<SeriesName, number | null>>;
}

/** The last points, oldest first, one array a series as chart libraries expect it. */
export interface HistoryView {
  readonly intervalMs: number;
  /** The number of points that are kept. */
  readonly capacity: number;
  /** Seconds since 1970, ascending. */
  readonly times: readonly number[];
  readonly series: Readonly<Record<SeriesName, readonly (number | null)[]>>;
}

/** All that a page shows at one time, except the history. */
export interface DashboardSnapshot {
  readonly schema: 'dynamo-node.dashboard/v1';
  /** Counts the snapshots of this server from 1. */
  readonly sequence: number;
  /** Milliseconds since 1970. */
  readonly atMs: number;
  readonly graph: {
    readonly name: string;
    /** `unknown` if no supervisor runs it on this machine. */
    readonly phase: 'starting' | 'ready' | 'draining' | 'gone' | 'unknown';
    readonly startedAtMs?: number;
    /** Addresses for users. Data, as `InstanceView.url`. */
    readonly urls: readonly string[];
    /** The models that its frontends list. */
    readonly models: readonly string[];
  };
  readonly services: readonly ServiceView[];
  readonly edges: readonly EdgeView[];
  readonly flow: FlowView;
  readonly ttft?: LatencyView;
  readonly itl?: LatencyView;
  readonly kv: KvView;
  /** The point that this snapshot adds to the history. */
  readonly point: HistoryPoint;
  /** Oldest first. */
  readonly decisions: readonly DecisionView[];
  /** Oldest first. */
  readonly traces: readonly TraceView[];
  readonly sources: readonly SourceView[];
  /** What the user should know, such as a source that does not answer. */
  readonly warnings: readonly string[];
  /** What the server does on request. */
  readonly actions: { readonly scale: boolean; readonly trace: boolean; readonly logs: boolean };
}
