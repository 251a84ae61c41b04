import { randomUUID } from 'node:crypto';
import type { RecalledPhases } from '../deploy/local/worker-messages.js';
import type { TracedPrompt } from './backend.js';
import { RequestError } from './request-guard.js';
import { sendTraced, tracedModel } from './trace-request.js';
import { spansOf } from './trace-spans.js';
import type { RoutingView, TraceView } from './view.js';

const MAX_TRACES = 20;
const MAX_AT_A_TIME = 4;
const DEFAULT_TOKENS = 32;

/** A choice of the KV router of a frontend. */
export interface TracedChoice {
  readonly model: string;
  readonly tokens: readonly number[];
  /** The instance that was chosen, in decimal. */
  readonly chosen: string;
  /** The share of the prompt that the router expected in its cache, 0 to 1. */
  readonly hitRate: number;
}

/** What a trace needs of its graph. */
export interface TraceGround {
  /** The address of a frontend, undefined if there is none. */
  readonly frontend: () => string | undefined;
  /** What workers know of a request. */
  readonly recall: (requestId: string) => Promise<readonly RecalledPhases[]>;
  /** Why the router of a frontend chose a worker; undefined if it is not known. */
  readonly explain: (choice: TracedChoice) => Promise<RoutingView | undefined>;
  /** The `id` of an instance in the snapshot, by its id in discovery. */
  readonly idOf: (instanceId: string) => string;
}

/** Sends requests to a frontend and keeps the last timelines. */
export class Traces {
  #running = 0;
  #traces: readonly TraceView[] = [];

  constructor(private readonly ground: TraceGround) {}

  get last(): readonly TraceView[] {
    return this.#traces;
  }

  /** @throws RequestError if there is no frontend or model, or if too many run */
  async run({ prompt, model: wanted, maxTokens = DEFAULT_TOKENS }: TracedPrompt): Promise<TraceView> {
    const url = this.ground.frontend();
    if (url === undefined)
      throw new RequestError(409, 'E_NO_FRONTEND', 'no frontend is known that could be sent a request');
    if (this.#running >= MAX_AT_A_TIME)
      throw new RequestError(409, 'E_BUSY', `${MAX_AT_A_TIME} requests are traced already`);
    this.#running += 1;
    try {
      const trace = await this.#trace(url, await tracedModel(url, wanted), prompt, maxTokens);
      this.#traces = [...this.#traces, trace].slice(-MAX_TRACES);
      return trace;
    } finally {
      this.#running -= 1;
    }
  }

  async #trace(url: string, model: string, prompt: string, maxTokens: number): Promise<TraceView> {
    const { requestId, error, promptTokenIds: tokens, ...answer } = await sendTraced(url, { prompt, model, maxTokens });
    const recalled = requestId === undefined ? [] : await this.ground.recall(requestId).catch(() => []);
    // Only a KV router reports it.
    const { kv_hit_rate: hitRate } = answer.timing ?? {};
    const chosen = answer.chosen.prefill ?? answer.chosen.decode;
    const routing =
      chosen === undefined || hitRate === undefined || tokens.length === 0
        ? undefined
        : await this.ground.explain({ model, tokens, chosen, hitRate }).catch(() => undefined);
    const { sentAtMs, totalMs, firstTokenMs, inputTokens, outputTokens, cachedTokens } = answer;
    return {
      id: requestId ?? randomUUID(),
      atMs: sentAtMs,
      model,
      outcome: error === undefined ? 'ok' : 'failed',
      ...{ error, inputTokens, outputTokens, cachedTokens, totalMs },
      ttftMs: firstTokenMs,
      routing,
      ...spansOf({ ...answer, recalled, idOf: this.ground.idOf }),
    };
  }
}
