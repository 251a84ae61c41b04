import { type RestartPolicy, restartDelayMs } from './restart-policy.js';

/**
 * The phases of a worker. `waiting`: its process loads the graph and must not serve yet. `stopped` and `failed` are
 * final.
 */
export type WorkerPhase = 'waiting' | 'starting' | 'ready' | 'draining' | 'backing-off' | 'stopped' | 'failed';

/** How a process ended: with a code, or by a signal. */
export interface ProcessExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** What the supervisor knows of one worker. */
export interface WorkerState {
  readonly phase: WorkerPhase;
  readonly hasProcess: boolean;
  /** Crashes in a row. */
  readonly crashes: number;
  /** How often its process was started again. */
  readonly restarts: number;
  /** Whether one of its processes was ready. */
  readonly wasReady: boolean;
  /** The address for HTTP clients, while it is ready and if it has one. */
  readonly url?: string | undefined;
  /** Its id in discovery, in decimal, while it is ready and if it is known. */
  readonly instanceId?: string | undefined;
  /** Why it crashed or failed, in words. */
  readonly reason?: string | undefined;
}

export const NEW_WORKER: WorkerState = {
  phase: 'waiting',
  hasProcess: false,
  crashes: 0,
  restarts: 0,
  wasReady: false,
};

/** What happens to a worker. */
export type WorkerEvent =
  /** Its process may load, before it may serve. */
  | { readonly type: 'prepare' }
  /** What it depends on is ready. */
  | { readonly type: 'start' }
  | { readonly type: 'ready'; readonly url?: string | undefined; readonly instanceId?: string | undefined }
  /** Its process reports why it is about to end. */
  | { readonly type: 'failed'; readonly message: string }
  | { readonly type: 'exited'; readonly exit: ProcessExit }
  /** The timer of the present phase. */
  | { readonly type: 'timer' }
  /** `lingerMs`: how long its callers may not know of it yet. `graceMs`: instead of that of the policy. */
  | { readonly type: 'drain'; readonly lingerMs: number; readonly graceMs?: number }
  | { readonly type: 'kill' };

/** What the supervisor does to a worker. A change of the phase ends the timer of the last one. */
export type WorkerEffect =
  | { readonly type: 'spawn' }
  /** Lets a process that has loaded serve. */
  | { readonly type: 'release' }
  | { readonly type: 'drain'; readonly lingerMs: number; readonly graceMs: number }
  | { readonly type: 'kill' }
  | { readonly type: 'timer'; readonly ms: number };

/** The limits of a worker's life. */
export interface WorkerPolicy {
  readonly restarts: RestartPolicy;
  readonly startTimeoutMs: number;
  /** The time between the request to drain and SIGKILL. */
  readonly graceMs: number;
}

export interface Transition {
  readonly state: WorkerState;
  readonly effects: readonly WorkerEffect[];
}

type Step<Type extends WorkerEvent['type']> = (
  state: WorkerState,
  policy: WorkerPolicy,
  event: Extract<WorkerEvent, { type: Type }>,
) => Transition | undefined;

const timer = (ms: number): WorkerEffect => ({ type: 'timer', ms });

const starting = (state: WorkerState, { startTimeoutMs }: WorkerPolicy): Transition => ({
  state: { ...state, phase: 'starting', hasProcess: true, reason: undefined },
  effects: [...(state.hasProcess ? [] : [{ type: 'spawn' } as const]), { type: 'release' }, timer(startTimeoutMs)],
});

/** The reason in words: what the process reported, else how it ended. */
export function exitReason({ code, signal }: ProcessExit): string {
  return signal === null ? `its process ended with code ${code}` : `its process was ended by ${signal}`;
}

/** A first start that fails or hangs would do so again. Only a signal may not return, as that of the OOM killer. */
function crashed(state: WorkerState, { restarts }: WorkerPolicy, exit: ProcessExit): Transition {
  const crashes = state.crashes + 1;
  const reason = state.reason ?? exitReason(exit);
  const isHopeless = !state.wasReady && (exit.signal === null || state.reason !== undefined);
  const delayMs = isHopeless ? undefined : restartDelayMs(restarts, crashes);
  const next = { ...state, hasProcess: false, url: undefined, instanceId: undefined, crashes, reason };
  if (delayMs === undefined) return { state: { ...next, phase: 'failed' }, effects: [] };
  return { state: { ...next, phase: 'backing-off' }, effects: [timer(delayMs)] };
}

const stopped = (state: WorkerState): Transition => ({
  state: { ...state, phase: 'stopped', hasProcess: false, url: undefined, instanceId: undefined },
  effects: [],
});

const steps: { readonly [Type in WorkerEvent['type']]: Step<Type> } = {
  prepare: (state) =>
    state.phase === 'waiting' && !state.hasProcess
      ? { state: { ...state, hasProcess: true }, effects: [{ type: 'spawn' }] }
      : undefined,

  start: (state, policy) => (state.phase === 'waiting' ? starting(state, policy) : undefined),

  ready: (state, { restarts }, { url, instanceId }) =>
    state.phase === 'starting'
      ? { state: { ...state, phase: 'ready', wasReady: true, url, instanceId }, effects: [timer(restarts.stableMs)] }
      : undefined,

  failed: (state, _, { message }) => ({ state: { ...state, reason: message }, effects: [] }),

  exited(state, policy, { exit }) {
    if (state.phase === 'draining') return stopped(state);
    return state.hasProcess ? crashed(state, policy, exit) : undefined;
  },

  timer(state, policy) {
    if (state.phase === 'ready') return { state: { ...state, crashes: 0 }, effects: [] };
    if (state.phase === 'backing-off') return starting({ ...state, restarts: state.restarts + 1 }, policy);
    if (state.phase === 'draining') return { state, effects: [{ type: 'kill' }] };
    if (state.phase !== 'starting') return undefined;
    const reason = `it was not ready within ${policy.startTimeoutMs} ms`;
    return { state: { ...state, reason }, effects: [{ type: 'kill' }] };
  },

  drain(state, policy, { lingerMs, graceMs = policy.graceMs }) {
    if (!isAlive(state)) return undefined;
    if (!state.hasProcess) return stopped(state);
    // The end of the graph may give a worker less time than its removal did.
    if (state.phase === 'draining') return { state, effects: [timer(graceMs)] };
    return { state: { ...state, phase: 'draining' }, effects: [{ type: 'drain', lingerMs, graceMs }, timer(graceMs)] };
  },

  kill(state) {
    if (!state.hasProcess) return ['stopped', 'failed'].includes(state.phase) ? undefined : stopped(state);
    return { state: { ...state, phase: 'draining' }, effects: [{ type: 'kill' }] };
  },
};

/** The next state of a worker, and what to do. An event that means nothing in its phase changes nothing. */
export function advance(state: WorkerState, event: WorkerEvent, policy: WorkerPolicy): Transition {
  const step = steps[event.type] as Step<WorkerEvent['type']>;
  return step(state, policy, event as never) ?? { state, effects: [] };
}

/** Whether a worker serves, or still may. */
export const isAlive = ({ phase }: WorkerState): boolean => phase !== 'stopped' && phase !== 'failed';
