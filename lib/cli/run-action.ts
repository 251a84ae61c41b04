import { DynamoError } from '../errors.js';
import { flagOf } from '../options.js';
import { type CommandArgs, type CommandIo, EXIT, usageError } from './command.js';
import { print, printJson } from './output.js';
import type { RunOptions } from './run.js';
import { batch, checkBatch } from './run-batch.js';
import { answerInput, chat } from './run-chat.js';
import { parseWords, type RunWords } from './run-words.js';

const CONCURRENCY = 16;

const PYTHON_OPTIONS = ['contextLength', 'kvCacheBlockSize', 'tensorParallelSize', 'disaggregationMode'] as const;
const KV_ROUTER_OPTIONS = ['kvOverlapScoreCredit', 'routerTemperature', 'useKvEvents'] as const;
const NODE_OPTIONS = ['baseGpuId', 'numNodes', 'nodeRank', 'leaderAddr', 'extraEngineArgs'] as const;

/** The options of an engine that each kind of engine uses. */
const ENGINE_OPTIONS: Readonly<Record<RunWords['output']['kind'], readonly (keyof RunOptions)[]>> = {
  echo: [],
  mocker: ['kvCacheBlockSize', 'disaggregationMode', 'extraEngineArgs'],
  js: ['disaggregationMode'],
  python: [...PYTHON_OPTIONS, ...NODE_OPTIONS],
  dyn: [],
};

function checkFlags({ output, input }: RunWords, options: RunOptions, rest: readonly string[]): void {
  for (const name of [...PYTHON_OPTIONS, ...NODE_OPTIONS]) {
    if (options[name] === undefined || ENGINE_OPTIONS[output.kind].includes(name)) continue;
    if (output.kind === 'dyn')
      throw usageError(`'${flagOf(name)}' flag should only be used on the worker node, not on the ingress`);
    throw usageError(`out=${output.kind} does not use ${flagOf(name)}`);
  }
  const ofRouter = KV_ROUTER_OPTIONS.find((name) => options[name] !== undefined);
  if (ofRouter !== undefined && options.routerMode !== 'kv')
    throw usageError(`${flagOf(ofRouter)} needs --router-mode kv`);
  if (rest.length > 0 && output.kind !== 'python')
    throw usageError(`words after -- go to a Python engine, got ${rest[0]} with out=${output.kind}`);
  if ((options.tlsCertPath === undefined) !== (options.tlsKeyPath === undefined))
    throw usageError('expected --tls-cert-path and --tls-key-path together');
  if (options.tlsCertPath !== undefined && input.kind !== 'http')
    throw usageError(`--tls-cert-path is for in=http, got in=${input.kind}`);
}

/** Runs a model as the words say. */
export async function run(
  { positionals, options, rest, json }: CommandArgs<RunOptions>,
  io: CommandIo,
): Promise<number> {
  const isInputTerminal = (io.stdin as { isTTY?: boolean }).isTTY === true;
  const parsed = parseWords(positionals, isInputTerminal, options.namespace);
  const words = { ...parsed, model: parsed.model ?? options.modelPath };
  checkFlags(words, options, rest);
  const job = words.input.kind === 'batch' ? await checkBatch(words.input.file, io.cwd) : undefined;

  // Loads the addon: wrong words are reported without it.
  const { Deployment } = await import('./run-deployment.js');
  const interruption = new Interruption(io);
  const deployment = new Deployment(words, options, rest, io);
  try {
    if (words.input.kind === 'worker') {
      const engine = await deployment.startEngine(words.input.endpoint);
      if (!engine.isLocal) await deployment.waitForInstance(words.input.endpoint, engine, interruption.signal);
      const { endpoint } = words.input;
      if (json) printJson(io, { endpoint, model: engine.modelName });
      else print(io, `serving ${engine.modelName} on dyn://${endpoint}`);
      return await interruption.orEnd(engine.ended);
    }
    const engine = words.output.kind === 'dyn' ? undefined : await deployment.startEngine();
    interruption.signal.throwIfAborted();
    const frontend = await deployment.startFrontend();
    if (words.input.kind === 'http') {
      if (engine !== undefined) await deployment.waitForModel(frontend, engine, interruption.signal);
      if (json) printJson(io, { url: frontend.url, model: engine?.modelName ?? null });
      else print(io, `listening on ${frontend.url}${engine === undefined ? '' : `, model ${engine.modelName}`}`);
      return await interruption.orEnd(frontend.ended, engine?.ended);
    }
    const model = await deployment.waitForModel(frontend, engine, interruption.signal);
    interruption.end();
    const { maxTokens, temperature, concurrency = CONCURRENCY } = options;
    const target = { url: frontend.url, model, maxTokens, temperature };
    if (words.input.kind === 'text') engine?.quiet?.();
    if (job !== undefined) return await batch(target, job, io, { concurrency, json });
    return await (words.input.kind === 'text' ? chat : answerInput)(target, io, json);
  } catch (error) {
    if (interruption.exitCode !== undefined) return interruption.exitCode;
    throw error;
  } finally {
    interruption.end();
    await deployment.close();
  }
}

/** Ends the start, or the wait for the end, with the first Ctrl-C or SIGTERM. The next signal ends the process. */
class Interruption {
  exitCode: number | undefined;
  readonly #controller = new AbortController();
  readonly #removes: (() => void)[];

  constructor(io: CommandIo) {
    const interrupt = (exitCode: number) => (): void => {
      this.exitCode = exitCode;
      this.end();
      this.#controller.abort(new DynamoError('Cancelled', 'interrupted'));
    };
    this.#removes = [
      io.onSignal('SIGINT', interrupt(EXIT.interrupted)),
      io.onSignal('SIGTERM', interrupt(EXIT.terminated)),
    ];
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The exit code of a signal, or 0 if one of the promises settles first. */
  async orEnd(...ended: readonly (Promise<void> | undefined)[]): Promise<number> {
    const aborted = new Promise<void>((resolve) => {
      if (this.signal.aborted) resolve();
      this.signal.addEventListener('abort', () => resolve());
    });
    await Promise.race([aborted, ...ended.filter((one) => one !== undefined)]);
    return this.exitCode ?? EXIT.ok;
  }

  end(): void {
    for (const remove of this.#removes.splice(0)) remove();
  }
}
