import { DeployError } from '../deploy-error.js';

/** What the GPUs of this machine are named in CUDA_VISIBLE_DEVICES: an index or a UUID each. */
export type GpuInventory = readonly string[];

interface Share {
  readonly id: string;
  /** The fraction that each worker on it has. */
  readonly fraction: number;
  workers: number;
}

/** The GPUs that a worker has. Returned by `allocate`, taken by `release`. */
export interface GpuGrant {
  readonly ids: readonly string[];
  readonly share?: Share;
}

const EPSILON = 1e-9;
const NO_GPU: GpuGrant = { ids: [] };

/** The GPUs of a machine and who has them. Whole GPUs are granted in their order; equal fractions share one. */
export class GpuAllocator {
  /** By the name of a GPU: how many workers, or groups of workers with fractions, have it. */
  readonly #users: Map<string, number>;
  readonly #shares: Share[] = [];

  /** @param isOversubscribed whether a GPU that is taken is granted again if none is left, instead of an error */
  constructor(
    readonly inventory: GpuInventory,
    readonly isOversubscribed = false,
    readonly warn: (message: string) => void = () => {},
  ) {
    this.#users = new Map(inventory.map((id) => [id, 0]));
  }

  /** The number of GPUs that no worker has. */
  get left(): number {
    return [...this.#users.values()].filter((users) => users === 0).length;
  }

  /**
   * Grants one worker of `service` its GPUs.
   *
   * @param gpu a whole number, or a fraction below 1
   * @throws DeployError `E_GPU_SHORT` (69) if too few are left
   */
  allocate(service: string, gpu: number): GpuGrant {
    if (gpu === 0) return NO_GPU;
    if (gpu < 1) return this.#allocateShare(service, gpu);
    return { ids: this.#take(service, gpu, gpu) };
  }

  /** Takes the GPUs of a worker back. */
  release({ ids, share }: GpuGrant): void {
    if (share !== undefined) {
      share.workers -= 1;
      if (share.workers > 0) return;
      this.#shares.splice(this.#shares.indexOf(share), 1);
    }
    for (const id of ids) this.#users.set(id, (this.#users.get(id) as number) - 1);
  }

  #allocateShare(service: string, fraction: number): GpuGrant {
    const fits = (one: Share): boolean => one.fraction === fraction && (one.workers + 1) * fraction <= 1 + EPSILON;
    let share = this.#shares.find(fits);
    if (share === undefined) {
      const [id] = this.#take(service, 1, fraction);
      share = { id: id as string, fraction, workers: 0 };
      this.#shares.push(share);
    }
    share.workers += 1;
    return { ids: [share.id], share };
  }

  #take(service: string, count: number, wanted: number): string[] {
    const total = this.inventory.length;
    if (count > this.left) {
      const gpus = wanted > 1 ? 'GPUs' : 'GPU';
      const message = `service ${service}: a worker needs ${wanted} ${gpus}, but ${this.left} of ${total} are left`;
      if (!this.isOversubscribed || total === 0) throw shortage(message, total);
      this.warn(`${message}; workers share GPUs`);
    }
    const usersOf = (id: string): number => this.#users.get(id) as number;
    const granted = [...this.inventory].sort((a, b) => usersOf(a) - usersOf(b)).slice(0, count);
    for (const id of granted) this.#users.set(id, usersOf(id) + 1);
    return granted;
  }
}

function shortage(message: string, total: number): DeployError {
  const hint =
    total === 0
      ? 'nvidia-smi lists no GPU, or CUDA_VISIBLE_DEVICES hides all.'
      : 'Set fewer workers or GPUs, or share GPUs with --allow-gpu-oversubscribe.';
  return new DeployError('E_GPU_SHORT', message, { exitCode: 69, hint });
}
