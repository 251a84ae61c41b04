import { expect } from 'vitest';
import { Child } from '../child.js';
import { freePort, privateCluster } from '../runtime/cluster.js';
import { waitFor } from '../wait.js';
import { complete, type GreedyCase, greedyCases } from './deployment.js';

export const VICTIMS = ['prefill', 'decode', 'frontend'] as const;
export const FAULTS = ['killed', 'stopped', 'drained'] as const;
/** Phases of a request. The first is before it is sent, the others are reported by the worker that has them. */
export const PHASES = ['idle', 'prefill', 'offered', 'transfer', 'transferred', 'decode'] as const;

export type Victim = (typeof VICTIMS)[number];
export type Fault = (typeof FAULTS)[number];
export type Phase = (typeof PHASES)[number];
export type Style = 'first' | 'together';

/** What became of a request: the right answer, or an error that lets the client ask again. */
export type Outcome = 'answered' | 'failed';

const REPORTER: Record<Exclude<Phase, 'idle'>, 'prefill' | 'decode'> = {
  prefill: 'prefill',
  offered: 'prefill',
  transfer: 'decode',
  transferred: 'decode',
  decode: 'decode',
};

/** The limit of a request, with a fault in it. */
const DEADLINE_MS = 30_000;
const STOP_MS = 2000;
const QUIET = { DYN_LOG: 'off', UCX_LOG_LEVEL: 'fatal', NIXL_LOG_LEVEL: 'FATAL' };

/** A prompt of three blocks, with the answer of transformers. */
const CASE = greedyCases.find(({ name }) => name === 'two turns') as GreedyCase;

/** A frontend, a prefill and a decode worker, each in its own process. */
export class FaultyDeployment {
  readonly #cluster = privateCluster();
  readonly #parts = new Map<Victim, Child>();
  #url = '';
  #count = 0;

  private constructor(
    private readonly nixl: 'mock' | 'real',
    private readonly style: Style,
  ) {}

  static async start(nixl: 'mock' | 'real', style: Style): Promise<FaultyDeployment> {
    const made = new FaultyDeployment(nixl, style);
    await Promise.all(VICTIMS.map((part) => made.#start(part)));
    await made.works();
    return made;
  }

  async #start(part: Victim): Promise<void> {
    const { dir } = this.#cluster;
    const folder = 'test/helpers/disagg/programs';
    const env = { ...QUIET, DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS: '0' };
    const child =
      part === 'frontend'
        ? Child.program(`${folder}/frontend.ts`, [dir, String(await freePort())], { env })
        : Child.program(`${folder}/worker.ts`, [dir, part, this.nixl, this.style], { env });
    this.#parts.set(part, child);
    const ready = await child.event('ready');
    if (part === 'frontend') this.#url = ready['url'] as string;
  }

  #part(name: Victim): Child {
    return this.#parts.get(name) as Child;
  }

  /** Sends a request. The frontend must answer it, unless it is the victim of a fault. */
  async #request(victim?: Victim): Promise<Outcome> {
    const { promptTokenIds, tokenIds, text } = CASE;
    let status: number;
    let answer: unknown;
    try {
      const init = { signal: AbortSignal.timeout(DEADLINE_MS) };
      const response = await complete({ url: this.#url }, promptTokenIds, { max_tokens: tokenIds.length }, init);
      // A frontend that is killed may cut its answer.
      [status, answer] = [response.status, await response.json()];
    } catch (error) {
      if ((error as Error).name === 'TimeoutError' || victim !== 'frontend') throw error;
      return 'failed';
    }
    if (status !== 200) {
      // What the frontend answers if a worker is lost, or has not come back yet. A client may ask again.
      const unavailable = { code: 503, type: 'Service Unavailable', message: expect.any(String) };
      expect({ status, answer }).toEqual({ status: 503, answer: unavailable });
      return 'failed';
    }
    const { choices } = answer as { choices: { text: string }[] };
    expect(choices[0]?.text).toBe(text);
    return 'answered';
  }

  /** Waits until a request is answered rightly from the blocks of the prefill worker. */
  async works(): Promise<void> {
    const { done } = await this.#state('decode');
    await waitFor(
      'a right answer from both workers',
      async () => [await this.#request(), (await this.#state('decode'))['done']],
      ([outcome, now]) => outcome === 'answered' && now !== done,
      60_000,
    );
  }

  /** Makes a fault in a phase of a request, and undoes it. Returns what became of the request. */
  async trial(victim: Victim, fault: Fault, phase: Phase): Promise<Outcome> {
    const request = phase === 'idle' ? undefined : await this.#requestIn(phase, victim);
    const part = this.#part(victim);
    part.kill(fault === 'killed' ? 'SIGKILL' : fault === 'stopped' ? 'SIGSTOP' : 'SIGTERM');
    if (fault === 'killed') await part.exit();
    const asked = request?.[0] ?? this.#request(victim);
    asked.catch(() => {});
    if (fault === 'stopped') {
      // Longer than the lease of an offer.
      await new Promise((resolve) => setTimeout(resolve, STOP_MS));
      part.kill('SIGCONT');
    }
    const outcome = await asked;
    if (fault !== 'stopped') {
      await part.exit();
      await this.#start(victim);
    }
    await this.baseline();
    await this.works();
    return outcome;
  }

  /** Sends requests until one of them is in a phase, and returns that one. */
  async #requestIn(phase: Exclude<Phase, 'idle'>, victim: Victim): Promise<Promise<Outcome>[]> {
    const name = REPORTER[phase];
    for (const deadline = Date.now() + 60_000; Date.now() < deadline; ) {
      this.#forget();
      // Numbered: a wait for the phase of a request that has ended before it would take the event of a later request.
      const number = ++this.#count;
      this.#part(name).send({ arm: { phase, number } });
      // Commands are read in order: the answer to a second one says that the first was read.
      await this.#state(name);
      const request = this.#request(victim);
      // A frontend may still know a worker that was killed before.
      const ended = request.then(() => undefined);
      if ((await Promise.race([this.#part(name).event('phase', { number }), ended])) !== undefined) return [request];
    }
    throw new Error(`no request reached the phase ${phase} within 60 s`);
  }

  /** Empties the caches of both workers: else a prompt is neither computed nor moved again. */
  #forget(): void {
    for (const part of ['prefill', 'decode'] as const) this.#part(part).send({ forget: true });
  }

  async #state(name: 'prefill' | 'decode'): Promise<Readonly<Record<string, unknown>>> {
    const number = ++this.#count;
    this.#part(name).send({ state: number });
    const { event: _event, number: _number, ...state } = await this.#part(name).event('state', { number });
    return state;
  }

  /** Waits until no request uses a block of either worker. */
  async baseline(): Promise<void> {
    for (const name of ['prefill', 'decode'] as const) {
      await waitFor(
        `the blocks of the ${name} worker`,
        async () => {
          const { done: _, ...state } = await this.#state(name);
          return state;
        },
        (state) => Object.values(state).every((count) => count === 0),
      );
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#parts.values()].map((part) => part.stop()));
    await this.#cluster.remove();
  }
}
