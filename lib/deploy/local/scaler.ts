import { join } from 'node:path';
import { milliseconds, type OptionTable, optionTable, stringMap, text } from '../../options.js';
import type { PoolCounts, PoolRole, PortOptions, Scaler, Targets } from '../../planner/index.js';
import { control } from './control.js';
import type { RunState } from './run-folder.js';

/** Which workers of a graph of `dynamo serve` are scaled. */
export interface LocalScalerOptions {
  /** The run folder of the graph. */
  readonly folder: string;
  /** The name of the service of each role. */
  readonly services: Readonly<Partial<Record<PoolRole, string>>>;
  /** Names the planner. Its restarts have the same name; while it scales, the graph refuses others. */
  readonly planner: string;
  /** How long a removed worker may complete its requests before it is killed. @default 3600000 */
  readonly drainMs?: number;
}

const OPTIONS: OptionTable<LocalScalerOptions> = optionTable<LocalScalerOptions>({
  folder: text.required().about('The run folder of the graph.'),
  services: stringMap.required().about('The name of the service of each role.'),
  planner: text.required().about('Names the planner.'),
  drainMs: milliseconds(0).about('How long a removed worker may complete its requests.'),
});

const DRAIN_MS = 3_600_000;

/** Scales a graph of `dynamo serve` through its supervisor: processes start, and drain before they end. */
export class LocalScaler implements Scaler {
  readonly #socket: string;
  readonly #services: readonly (readonly [PoolRole, string])[];
  readonly #planner: string;
  readonly #drainMs: number;

  /** @throws TypeError, RangeError for faulty options */
  constructor(options: LocalScalerOptions) {
    OPTIONS.check('LocalScaler options', options);
    const { folder, services, planner, drainMs = DRAIN_MS } = options;
    this.#socket = join(folder, 'control.sock');
    this.#services = Object.entries(services) as [PoolRole, string][];
    this.#planner = planner;
    this.#drainMs = drainMs;
  }

  /** The state of the graph. Renews the claim of this planner. */
  state({ signal }: Partial<PortOptions> = {}): Promise<RunState> {
    return control(this.#socket, { command: 'status', planner: this.#planner }, signal);
  }

  /** @throws DeployError `E_NOT_RUNNING` (69), `E_PLANNER_CONFLICT` (73) if another planner scales the graph */
  async current(options: PortOptions): Promise<Readonly<Partial<Record<PoolRole, PoolCounts>>>> {
    const { services } = await this.state(options);
    const counts = this.#services.flatMap(([role, name]) => {
      const service = services.find((one) => one.name === name);
      if (service === undefined) return [];
      const ready = service.workers.filter(({ phase }) => phase === 'ready').length;
      return [[role, { desired: service.desired, ready }] as const];
    });
    return Object.fromEntries(counts);
  }

  /**
   * Resolves when the supervisor has begun the change.
   *
   * @throws DeployError as `current`, and `E_GPU_SHORT` (69) if the machine has too few GPUs; nothing changes then
   */
  async scale(targets: Targets, { signal }: PortOptions): Promise<void> {
    const words = this.#services.flatMap(([role, name]) =>
      targets[role] === undefined ? [] : [`${name}=${targets[role]}`],
    );
    if (words.length === 0) return;
    await control(this.#socket, { command: 'scale', words, planner: this.#planner, graceMs: this.#drainMs }, signal);
  }
}
