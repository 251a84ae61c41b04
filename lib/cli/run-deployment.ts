import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DynamoError } from '../errors.js';
import { Frontend } from '../llm/frontend.js';
import type { HttpFrontendOptions } from '../llm/frontend-options.js';
import type { FrontendRouterMode, RouterOptions } from '../llm/router-options.js';
import { defined } from '../options.js';
import type { Discovery, RuntimeOptions } from '../runtime/config.js';
import { DistributedRuntime } from '../runtime/distributed-runtime.js';
import { startLog } from '../runtime/log.js';
import { type CommandIo, usageError } from './command.js';
import { note, styled } from './output.js';
import type { RunOptions } from './run.js';
import { modelNameOf, type RunningEngine, startEngine } from './run-engines.js';
import type { RunWords } from './run-words.js';

const READY_TIMEOUT_MS = 60_000;
/** A Python engine loads its weights, or even fetches them. */
const PYTHON_READY_TIMEOUT_MS = 1_800_000;
const CLOSE_TIMEOUT_MS = 10_000;

/** The processes and servers of one run, which share their discovery. */
export class Deployment {
  readonly #runtime: RuntimeOptions;
  readonly #closes: (() => Promise<void> | void)[] = [];

  constructor(
    private readonly words: RunWords,
    private readonly options: RunOptions,
    private readonly rest: readonly string[],
    private readonly io: CommandIo,
  ) {
    if (options.logLevel !== undefined) this.#startLog(options.logLevel);
    const { requestPlane, eventPlane } = options;
    const discovery = this.#discovery();
    const host = discovery.kind === 'file' ? { host: '127.0.0.1' } : {};
    this.#runtime = { discovery, ...host, ...(defined({ requestPlane, eventPlane }) as RuntimeOptions) };
  }

  /** A run with its own engine has a private folder, because no other process uses its parts. A flag overrides that. */
  #discovery(): Discovery {
    const { input, output } = this.words;
    const isShared = input.kind === 'worker' || output.kind === 'dyn';
    const kind =
      this.options.discoveryBackend ?? (isShared ? this.io.env['DYN_DISCOVERY_BACKEND'] : undefined) ?? 'file';
    if (kind !== 'file') return { kind } as Discovery;
    if (isShared) return { kind, ...(defined({ dir: this.io.env['DYN_FILE_KV'] }) as { dir?: string }) };
    const dir = mkdtempSync(join(tmpdir(), 'dynamo-run-'));
    this.#closes.push(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));
    // No router needs time to notice that a worker leaves.
    process.env['DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS'] ??= '0';
    return { kind, dir };
  }

  #startLog(filter: string): void {
    const log = startLog({
      filter,
      write: ({ level, target, message }) => note(this.io, styled(this.io, 'dim', `${level} ${target}: ${message}`)),
    });
    this.#closes.push(() => log.close());
  }

  /** Ends what was started, the last one first. */
  async close(): Promise<void> {
    for (const close of this.#closes.splice(0).reverse()) await close();
  }

  async startEngine(endpoint = `${this.options.namespace ?? 'dynamo'}.backend.generate`): Promise<RunningEngine> {
    const { words, options, rest, io } = this;
    if (words.output.kind === 'dyn') throw usageError('out=dyn has no engine');
    const { model } = words;
    const engine = await startEngine(words.output, { model, options, endpoint, runtime: this.#runtime, io, rest });
    this.#closes.push(() => engine.close());
    return engine;
  }

  async startFrontend(): Promise<Frontend> {
    const { options, words } = this;
    const isServer = words.input.kind === 'http';
    const { migrationLimit, requestTemplate, namespace, tlsCertPath: certPath, tlsKeyPath: keyPath } = options;
    const frontend = await Frontend.start(this.#runtime, {
      host: isServer ? (options.httpHost ?? '127.0.0.1') : '127.0.0.1',
      port: isServer ? (options.httpPort ?? 8000) : 0,
      ...(defined({
        migrationLimit,
        requestTemplate,
        namespace: words.output.kind === 'dyn' ? namespace : undefined,
        router: routerOf(options),
        tls: certPath === undefined ? undefined : { certPath, keyPath },
      }) as HttpFrontendOptions),
    });
    this.#closes.push(() => frontend.close({ timeoutMs: CLOSE_TIMEOUT_MS }));
    await frontend.ready;
    return frontend;
  }

  /** Waits for the model of the engine, or for the wanted one, or for any, and returns its name. */
  async waitForModel(frontend: Frontend, engine: RunningEngine | undefined, signal: AbortSignal): Promise<string> {
    const wanted = engine?.modelName ?? modelNameOf({ model: this.words.model, options: this.options, io: this.io });
    // The list of a server with a certificate is not read: its clients may have to present one too.
    if (this.options.tlsCertPath !== undefined) return wanted ?? '';
    const found = async (): Promise<string> => {
      const timeoutMs = this.#timeoutMs;
      if (wanted !== undefined) {
        await frontend.waitForModel(wanted, { timeoutMs, signal });
        return wanted;
      }
      const deadline = performance.now() + timeoutMs;
      for (;;) {
        const [model] = await frontend.models({ signal });
        if (model !== undefined) return model;
        if (performance.now() > deadline)
          throw new DynamoError('DeadlineExceeded', `no model within ${timeoutMs} ms: start a worker, or use out=echo`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    };
    return this.#whileRunning(engine, found());
  }

  /** Waits until a process has registered its endpoint. */
  async waitForInstance(endpoint: string, engine: RunningEngine, signal: AbortSignal): Promise<void> {
    const runtime = await DistributedRuntime.create(this.#runtime);
    try {
      const client = await runtime.endpoint(endpoint).client();
      await this.#whileRunning(engine, client.waitForInstances({ timeoutMs: this.#timeoutMs, signal }));
      await client.close();
    } finally {
      await runtime.close();
    }
  }

  get #timeoutMs(): number {
    const isPython = this.words.output.kind === 'python';
    return this.options.readyTimeoutMs ?? (isPython ? PYTHON_READY_TIMEOUT_MS : READY_TIMEOUT_MS);
  }

  /** The wait, unless the engine ends first. */
  async #whileRunning<T>(engine: RunningEngine | undefined, wait: Promise<T>): Promise<T> {
    if (engine === undefined) return wait;
    wait.catch(() => {});
    const ended = engine.ended.then(() => Promise.reject(new DynamoError('Unavailable', 'the engine has ended')));
    return Promise.race([wait, ended]);
  }
}

/** The router of the frontend, or undefined if no flag says anything about it. */
function routerOf({
  routerMode,
  kvOverlapScoreCredit,
  routerTemperature,
  useKvEvents,
}: RunOptions): RouterOptions | undefined {
  const kv = defined({
    overlap_score_credit: kvOverlapScoreCredit,
    router_temperature: routerTemperature,
    use_kv_events: useKvEvents,
  });
  const hasKv = Object.keys(kv).length > 0;
  if (routerMode === undefined) return undefined;
  return { mode: routerMode.replaceAll('-', '_') as FrontendRouterMode, ...(hasKv ? { kv } : {}) };
}
