import type {
  EngineWorker,
  KvEventSource,
  LLMEngine,
  LLMEngineOutput,
  PreprocessedRequest,
  RequestContext,
} from 'dynamo-node';

/** Generates `max_tokens` printable tokens. */
export class CountingEngine implements LLMEngine {
  started = 0;
  cleaned = 0;
  readonly aborted: string[] = [];
  readonly seen: { id: string; metadata: Readonly<Record<string, string>> }[] = [];

  constructor(
    readonly model: string,
    readonly pauseMs = 0,
  ) {}

  start() {
    this.started += 1;
    return { model: this.model, llm: { contextLength: 4096, kvCacheBlockSize: 16, totalKvBlocks: 256 } };
  }

  async *generate(request: PreprocessedRequest, context: RequestContext): AsyncGenerator<LLMEngineOutput> {
    this.seen.push({ id: context.id, metadata: context.metadata });
    const most = request.stop_conditions.max_tokens ?? 16;
    for (let index = 0; index < most && !context.signal.aborted; index++) {
      await new Promise((resolve) => setTimeout(resolve, this.pauseMs));
      yield { token_ids: [300 + (index % 200)] };
    }
    yield {
      token_ids: [],
      finish_reason: context.signal.aborted ? 'cancelled' : 'length',
      completion_usage: {
        prompt_tokens: request.token_ids.length,
        completion_tokens: most,
        total_tokens: request.token_ids.length + most,
      },
    };
  }

  abort(requestId: string) {
    this.aborted.push(requestId);
  }

  cleanup() {
    this.cleaned += 1;
  }
}

/** Reports the number of blocks in use that a test sets. */
export class LoadedEngine extends CountingEngine {
  worker: EngineWorker | undefined;
  readonly metricsRanks = [0];

  override start(worker?: EngineWorker) {
    this.worker = worker;
    return super.start();
  }

  kvEventSources(): KvEventSource[] {
    return [{ kind: 'push' }];
  }

  use(kvUsedBlocks: number): void {
    this.worker?.publishLoad({ kvUsedBlocks, kvTotalBlocks: 256 });
  }
}

/** Answers each request with one token, after `release`. */
export class GatedEngine implements LLMEngine {
  running = 0;
  maxRunning = 0;
  answered = 0;
  readonly #gates: (() => void)[] = [];

  constructor(readonly model: string) {}

  start() {
    return {
      model: this.model,
      llm: { contextLength: 4096, kvCacheBlockSize: 16, totalKvBlocks: 256, maxNumBatchedTokens: 100 },
    };
  }

  async *generate(): AsyncGenerator<LLMEngineOutput> {
    this.maxRunning = Math.max(this.maxRunning, ++this.running);
    try {
      await new Promise<void>((resolve) => this.#gates.push(resolve));
      yield { token_ids: [300], finish_reason: 'stop' };
      this.answered += 1;
    } finally {
      this.running -= 1;
    }
  }

  /** Completes the running requests. */
  release() {
    for (const open of this.#gates.splice(0)) open();
  }
}
