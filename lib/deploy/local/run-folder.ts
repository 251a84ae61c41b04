import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import type { RuntimeOptions } from '../../runtime/config.js';
import type { GraphSpec } from '../../sdk/graph-spec.js';
import { DeployError } from '../deploy-error.js';
import { isRunning, ownProcessId, type ProcessId } from './process-id.js';
import type { WorkerMetrics } from './worker-messages.js';
import type { WorkerPhase } from './worker-state.js';

/** One worker in the state of a graph. */
export interface WorkerStatus {
  readonly number: number;
  readonly phase: WorkerPhase;
  readonly pid?: number;
  readonly restarts: number;
  readonly url?: string;
  /** Its id in discovery, in decimal, while it is ready. */
  readonly instanceId?: string;
  readonly gpus?: readonly string[];
  /** As of the last measurement, if there was one. */
  readonly metrics?: WorkerMetrics;
  /** Why it crashed or failed. */
  readonly reason?: string;
  /** Its log file. */
  readonly log: string;
}

/** One service in the state of a graph. */
export interface ServiceStatus {
  readonly name: string;
  /** The number of workers that it was last set to. */
  readonly desired: number;
  readonly workers: readonly WorkerStatus[];
}

/** The state of a graph that runs on this machine, as in the file `state.json` of its folder. */
export interface RunState {
  readonly schema: 'dynamo-node.run/v1';
  readonly graph: string;
  /** The process that the user started. */
  readonly pid: number;
  readonly supervisor: ProcessId;
  /** The module that it was loaded from. */
  readonly file: string;
  /** In the form of ISO 8601. */
  readonly startedAt: string;
  readonly phase: 'starting' | 'ready' | 'draining';
  /** The addresses of its HTTP servers. */
  readonly urls: readonly string[];
  readonly services: readonly ServiceStatus[];
}

/** A graph as it runs: with the values of its configuration and its namespaces. */
export interface PlacedGraph {
  readonly spec: GraphSpec;
  readonly runtime: RuntimeOptions;
}

const LOCK = 'lock';
const STATE = 'state.json';
/** In the folder of a run: each decision of its planner as a line of JSON. */
export const DECISIONS = 'decisions.jsonl';
/** In the folder of a run: what its planner has learned, for the case that its process starts again. */
export const PLANNER_STATE = 'planner.json';
/** In the folder of a run: the graph with its configuration, and how its workers find one another. */
const PLACED_GRAPH = 'graph.json';
/** What a run leaves that the next one must not find. Logs and decisions stay. */
const OF_ONE_RUN = [STATE, PLANNER_STATE, PLACED_GRAPH, 'control.sock', 'workers', 'discovery'];

/** The folder of all runs: `$DYN_LOCAL_STATE_DIR`, else `run` in `$DYN_HOME`, else in `~/.dynamo`. */
export function runsFolder(env: Readonly<Record<string, string | undefined>>): string {
  const { DYN_LOCAL_STATE_DIR: runs = '', DYN_HOME: home = '' } = env;
  if (runs !== '') return resolve(runs);
  return join(home === '' ? join(homedir(), '.dynamo') : resolve(home), 'run');
}

/** The folder of a graph that runs on this machine. Only its user can read it. */
export class RunFolder {
  readonly #lock: string;

  private constructor(
    readonly path: string,
    readonly owner: ProcessId,
  ) {
    this.#lock = join(path, LOCK);
  }

  /**
   * Takes the folder for this process. One that a killed process has left is taken over.
   *
   * @throws DeployError `E_ALREADY_RUNNING` (73) if the graph runs, or `E_RUN_FOLDER` (73) if the folder cannot be used
   */
  static take(runs: string, graph: string): RunFolder {
    const path = join(runs, graph.replace(/[^\w.-]|^\.+/g, '_'));
    const folder = new RunFolder(path, ownProcessId());
    try {
      mkdirSync(path, { recursive: true, mode: 0o700 });
      const { uid, mode } = lstatSync(path);
      if (uid !== (process.getuid?.() ?? uid)) throw new Error('it belongs to another user');
      if ((mode & 0o077) !== 0) throw new Error('other users can use it; chmod 700');
    } catch (cause) {
      throw new DeployError('E_RUN_FOLDER', `${path} cannot be used: ${(cause as Error).message}`, {
        exitCode: 73,
        path,
        hint: 'Set DYN_LOCAL_STATE_DIR to a folder that only you can use.',
        cause,
      });
    }
    folder.#take(graph);
    for (const name of OF_ONE_RUN) rmSync(join(path, name), { recursive: true, force: true });
    for (const name of ['workers', 'discovery']) mkdirSync(join(path, name), { mode: 0o700 });
    return folder;
  }

  get discovery(): string {
    return join(this.path, 'discovery');
  }

  get logs(): string {
    return join(this.path, 'logs');
  }

  get socket(): string {
    return join(this.path, 'control.sock');
  }

  /** The file with the spec of a worker. */
  specOf(service: string, number: number): string {
    return join(this.path, 'workers', `${service}-${number}.json`);
  }

  /** Replaces the state file at once, so that a reader never finds half of it. */
  writeState(state: RunState): void {
    const file = join(this.path, STATE);
    writeFileSync(`${file}.new`, JSON.stringify(state, undefined, 2), { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }

  writeGraph(graph: PlacedGraph): void {
    writeFileSync(join(this.path, PLACED_GRAPH), JSON.stringify(graph), { mode: 0o600 });
  }

  /** Removes all but the logs. */
  release(): void {
    for (const name of [...OF_ONE_RUN, LOCK]) rmSync(join(this.path, name), { recursive: true, force: true });
  }

  #take(graph: string): void {
    const own = `${this.#lock}.${this.owner.pid}`;
    writeFileSync(own, JSON.stringify(this.owner), { mode: 0o600 });
    try {
      while (!this.#isTaken(own)) {
        const holder = holderOf(this.#lock);
        if (holder !== undefined && isRunning(holder)) throw alreadyRunning(graph, this.path, holder.pid);
        this.#breakLock();
      }
    } finally {
      rmSync(own, { force: true });
    }
  }

  /** A link appears with its content at once, and fails if the lock exists. */
  #isTaken(own: string): boolean {
    try {
      linkSync(own, this.#lock);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
      throw error;
    }
  }

  /** Removes the lock of a process that is gone, unless another process has just done so and taken it. */
  #breakLock(): void {
    const aside = `${this.#lock}.${this.owner.pid}.old`;
    try {
      renameSync(this.#lock, aside);
    } catch {
      return;
    }
    const holder = holderOf(aside);
    if (holder !== undefined && isRunning(holder)) this.#isTaken(aside);
    rmSync(aside);
  }
}

function alreadyRunning(graph: string, path: string, pid: number): DeployError {
  return new DeployError('E_ALREADY_RUNNING', `graph ${graph} already runs here, as process ${pid}`, {
    exitCode: 73,
    path,
    hint: 'Stop it with `dynamo stop`, or serve under another name with --name.',
  });
}

/** The process that a lock names. */
function holderOf(lock: string): ProcessId | undefined {
  try {
    return JSON.parse(readFileSync(lock, 'utf8')) as ProcessId;
  } catch {
    return undefined;
  }
}

/** The graph of a run folder; undefined if nothing runs in it. */
export function placedGraph(folder: string): PlacedGraph | undefined {
  try {
    return JSON.parse(readFileSync(join(folder, PLACED_GRAPH), 'utf8')) as PlacedGraph;
  } catch {
    return undefined;
  }
}

/** The states of all graphs that run on this machine, for this user. */
export function runningGraphs(runs: string): { readonly folder: string; readonly state: RunState }[] {
  if (!existsSync(runs)) return [];
  return readdirSync(runs).flatMap((name) => {
    const folder = join(runs, name);
    const holder = holderOf(join(folder, LOCK));
    if (holder === undefined || !isRunning(holder)) return [];
    try {
      return [{ folder, state: JSON.parse(readFileSync(join(folder, STATE), 'utf8')) as RunState }];
    } catch {
      return [];
    }
  });
}
