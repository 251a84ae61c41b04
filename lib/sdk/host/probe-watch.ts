import type { DistributedRuntime } from '../../runtime/distributed-runtime.js';
import type { Probe } from './hooks.js';

const INTERVAL_MS = 1000;
/** A probe that takes longer counts as false. */
const LIMIT_MS = 5000;
/** That many false answers of the liveness probe in a row end the service. */
const MAX_FAILURES = 3;

/** The two probes of a service, undefined without a hook of the kind. */
export interface Probes {
  readonly liveness: Probe | undefined;
  readonly readiness: Probe | undefined;
}

async function isTrue(probe: Probe): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), LIMIT_MS);
  });
  try {
    return await Promise.race([probe(), late]);
  } catch {
    return false;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Runs the probes of a service once a second. Readiness becomes the answer of `/health` on the runtime's status server.
 * A service that is not alive three times in a row has ended, so that its supervisor starts it again.
 */
export class ProbeWatch {
  /** Rejects when the service is no longer alive. */
  readonly ended: Promise<void>;
  #fail!: (error: Error) => void;
  #failures = 0;
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

  constructor(
    private readonly runtime: DistributedRuntime,
    private readonly name: string,
    private readonly probes: Probes,
  ) {
    this.ended = new Promise((_, reject) => {
      this.#fail = reject;
    });
    this.ended.catch(() => {});
    if (probes.liveness !== undefined || probes.readiness !== undefined) this.#schedule();
  }

  #schedule(): void {
    const run = (): void => void this.#run().catch(this.#fail);
    this.#timer = setTimeout(run, INTERVAL_MS).unref();
  }

  async #run(): Promise<void> {
    const { liveness, readiness } = this.probes;
    if (readiness !== undefined) {
      const isReady = await isTrue(readiness);
      if (!this.#isOver) this.runtime.setHealthy(isReady);
    }
    if (liveness !== undefined) this.#failures = (await isTrue(liveness)) ? 0 : this.#failures + 1;
    if (this.#isOver) return;
    if (this.#failures < MAX_FAILURES) return this.#schedule();
    this.#fail(
      new Error(`service ${this.name} is not alive: its liveness hooks failed ${MAX_FAILURES} times in a row`),
    );
  }

  /** Runs no further probe. */
  stop(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }
}
