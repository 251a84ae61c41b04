import type { PassTime } from '../performance.js';
import type { PassSample, PoolRole, WorkerSnapshot } from '../types.js';
import { Heap } from './heap.js';
import type { TraceRequest } from './trace.js';

/** What a simulated worker can hold, and how fast it is. */
export interface SimulatedEngineOptions {
  readonly time: PassTime;
  readonly maxBatchedTokens: number;
  readonly maxRequests: number;
  readonly kvTokens: number;
}

/** A request of the simulation. */
export interface SimulatedRequest extends TraceRequest {
  /** Prompt tokens that are not computed yet. */
  remaining: number;
  firstTokenMs: number;
  endMs: number;
}

/** What a segment of passes completed. */
export interface SegmentEnd {
  readonly prefilled: readonly SimulatedRequest[];
  readonly completed: readonly SimulatedRequest[];
}

/** The same passes in a row, while no prompt waits and no request ends. */
interface Segment {
  readonly startMs: number;
  readonly passMs: number;
  passes: number;
  readonly chunks: readonly { readonly request: SimulatedRequest; readonly tokens: number }[];
}

const MAX_SEGMENT = 64;
/** Passes that a snapshot shows. */
const MAX_SAMPLES = 16;

/**
 * An engine with continuous batching and chunked prefill: each pass computes the next token of all running requests
 * and as many prompt tokens as fit. A request is admitted if its whole sequence fits into the KV cache, so none is
 * preempted.
 */
export class SimulatedWorker {
  readonly #waiting: SimulatedRequest[] = [];
  readonly #prefilling: SimulatedRequest[] = [];
  readonly #running = new Heap<SimulatedRequest>();
  #samples: PassSample[] = [];
  #passNumber = 0;
  #passesSeen = 0;
  #kvTokens = 0;
  #reserved = 0;
  #queuedTokens = 0;
  #segment: Segment | undefined;
  isDraining = false;
  /** Changes with each segment, so that an outdated event can be recognized. */
  version = 0;

  constructor(
    readonly id: string,
    readonly role: PoolRole,
    private readonly engine: SimulatedEngineOptions,
  ) {}

  get isIdle(): boolean {
    return this.#segment === undefined;
  }

  /** Tokens that wait or run: the load by which requests are routed. */
  get load(): number {
    return this.role === 'prefill'
      ? this.#queuedTokens
      : this.#queuedTokens + this.#kvTokens + 64 * this.#running.length;
  }

  /** Queues a request. A running segment of decode passes ends at its next pass. Returns its end, if it changed. */
  enqueue(request: SimulatedRequest, nowMs: number): number | undefined {
    this.#waiting.push(request);
    this.#queuedTokens += this.role === 'decode' ? request.inputTokens : request.remaining;
    const segment = this.#segment;
    if (segment === undefined || segment.passes === 1) return undefined;
    const begun = Math.max(1, Math.ceil((nowMs - segment.startMs) / segment.passMs));
    if (begun >= segment.passes) return undefined;
    segment.passes = begun;
    this.version++;
    return segment.startMs + begun * segment.passMs;
  }

  /** Begins the next segment. Returns its end, or undefined if there is nothing to do. */
  begin(nowMs: number): number | undefined {
    this.#admit();
    const batch = this.#running.length;
    const chunks = this.#chunks(this.engine.maxBatchedTokens - batch);
    const prefillTokens = chunks.reduce((sum, { tokens }) => sum + tokens, 0);
    if (batch === 0 && prefillTokens === 0) return undefined;
    const passes = prefillTokens > 0 ? 1 : Math.max(1, Math.min(MAX_SEGMENT, this.#running.first - this.#passNumber));
    const kvTokens = this.#kvTokens + (batch * (passes - 1)) / 2;
    const passMs = this.engine.time(prefillTokens, batch, kvTokens);
    this.#sample({ wallMs: passMs, prefillTokens, decodeRequests: batch, kvTokens });
    this.#segment = { startMs: nowMs, passMs, passes, chunks };
    this.version++;
    return nowMs + passes * passMs;
  }

  /** Ends the segment. */
  end(nowMs: number): SegmentEnd {
    const { passes, chunks } = this.#segment as Segment;
    this.#segment = undefined;
    this.#passNumber += passes;
    this.#kvTokens += passes * this.#running.length;
    const completed: SimulatedRequest[] = [];
    const prefilled: SimulatedRequest[] = [];
    while (this.#running.first <= this.#passNumber) {
      const request = this.#running.pop() as SimulatedRequest;
      this.#kvTokens -= request.inputTokens + request.outputTokens;
      this.#complete(request, nowMs, completed);
    }
    for (const { request, tokens } of chunks) {
      request.remaining -= tokens;
      this.#queuedTokens -= tokens;
      if (request.remaining > 0) continue;
      this.#prefilling.splice(this.#prefilling.indexOf(request), 1);
      request.firstTokenMs = nowMs;
      prefilled.push(request);
      if (this.role === 'prefill') this.#reserved -= this.#sizeOf(request);
      else if (request.outputTokens === 1) this.#complete(request, nowMs, completed);
      else this.#run(request);
    }
    return { prefilled, completed };
  }

  /** Whether nothing waits or runs. */
  get isEmpty(): boolean {
    return this.#waiting.length + this.#prefilling.length + this.#running.length === 0;
  }

  snapshot(): WorkerSnapshot {
    const passes = this.#samples;
    this.#samples = [];
    this.#passesSeen = 0;
    return {
      id: this.id,
      ageMs: 0,
      load: {
        queuedPrefillTokens: this.role === 'decode' ? 0 : this.#queuedTokens,
        queuedRequests: this.#waiting.length + this.#prefilling.length,
        queuedKvTokens: this.role === 'decode' ? this.#queuedTokens : 0,
        decodeRequests: this.#running.length,
        kvTokens: this.#kvTokens,
      },
      passes,
    };
  }

  #sizeOf({ inputTokens, outputTokens }: SimulatedRequest): number {
    return this.role === 'prefill' ? inputTokens : inputTokens + outputTokens;
  }

  #admit(): void {
    const { maxRequests, kvTokens } = this.engine;
    while (this.#waiting.length > 0) {
      const request = this.#waiting[0] as SimulatedRequest;
      const active = this.#running.length + this.#prefilling.length;
      const isTooBig = active > 0 && this.#reserved + this.#sizeOf(request) > kvTokens;
      if (active >= maxRequests || isTooBig) return;
      this.#waiting.shift();
      this.#reserved += this.#sizeOf(request);
      if (this.role !== 'decode') {
        this.#prefilling.push(request);
        continue;
      }
      this.#queuedTokens -= request.inputTokens;
      this.#run(request);
    }
  }

  #chunks(budget: number): Segment['chunks'] {
    const chunks: { request: SimulatedRequest; tokens: number }[] = [];
    let left = budget;
    for (const request of this.#prefilling) {
      if (left <= 0) break;
      const tokens = Math.min(left, request.remaining);
      chunks.push({ request, tokens });
      left -= tokens;
    }
    return chunks;
  }

  #run(request: SimulatedRequest): void {
    this.#kvTokens += request.inputTokens + 1;
    this.#running.push(this.#passNumber + request.outputTokens - 1, request);
  }

  #complete(request: SimulatedRequest, nowMs: number, completed: SimulatedRequest[]): void {
    this.#reserved -= this.#sizeOf(request);
    request.endMs = nowMs;
    completed.push(request);
  }

  /** Keeps a sample of the passes: of many, each has the same chance. */
  #sample(pass: PassSample): void {
    this.#passesSeen++;
    if (this.#samples.length < MAX_SAMPLES) this.#samples.push(pass);
    else if (this.#passesSeen % 7 === 0) this.#samples[(this.#passesSeen / 7) % MAX_SAMPLES] = pass;
  }
}
