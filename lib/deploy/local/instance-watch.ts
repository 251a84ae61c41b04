import type { RuntimeOptions } from '../../runtime/config.js';
import type { DistributedRuntime } from '../../runtime/distributed-runtime.js';
import type { Instance } from '../../runtime/instance.js';

const INTERVAL_MS = 200;

/** Whether an instance may be that of a program. */
export type InstanceMatch = (instance: Instance) => boolean;

interface Waiting {
  readonly matches: InstanceMatch;
  readonly found: (instance: Instance) => void;
}

/**
 * Sees when a program that cannot report itself has registered an endpoint. A new instance counts for the program that
 * it matches and that has waited longest. It loads the addon when it is first used.
 */
export class InstanceWatch {
  readonly #options: RuntimeOptions;
  readonly #waiting: Waiting[] = [];
  readonly #known = new Set<string>();
  #loop: Promise<void> | undefined;
  #isClosed = false;

  constructor(options: RuntimeOptions) {
    this.#options = options;
  }

  /**
   * Calls `found` once for the next new instance that matches.
   *
   * @returns a function that ends the wait
   */
  await(matches: InstanceMatch, found: (instance: Instance) => void): () => void {
    const waiting = { matches, found };
    this.#waiting.push(waiting);
    this.#loop ??= this.#run();
    return () => {
      const index = this.#waiting.indexOf(waiting);
      if (index !== -1) this.#waiting.splice(index, 1);
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { DistributedRuntime } = await import('../../runtime/distributed-runtime.js');
    const runtime = await DistributedRuntime.create(this.#options);
    while (!this.#isClosed) {
      if (this.#waiting.length > 0) await this.#look(runtime);
      await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
    }
    await runtime.close();
  }

  async #look(runtime: DistributedRuntime): Promise<void> {
    for (const instance of await runtime.instances()) {
      const key = `${instance.namespace}.${instance.component}.${instance.instanceId}`;
      if (this.#known.has(key)) continue;
      this.#known.add(key);
      const index = this.#waiting.findIndex(({ matches }) => matches(instance));
      if (index !== -1) this.#waiting.splice(index, 1)[0]?.found(instance);
    }
  }
}
