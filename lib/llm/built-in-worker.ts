import type { Handle } from '../addon/native.js';
import { checkInteger, checkObject, MAX_BLOCK_TOKENS } from '../check.js';
import { badArgument } from '../errors.js';
import { custom, defined, integer, oneOf, optionTable, text, variants } from '../options.js';
import type { RuntimeOptions } from '../runtime/config.js';
import type { DistributedRuntime } from '../runtime/distributed-runtime.js';
import { parseEndpointPath } from '../runtime/endpoint-path.js';
import { realModelPath } from '../runtime/paths.js';
import { Entrypoint, startEntrypoint } from './entrypoint.js';

const DEFAULT_BLOCK_SIZE = 16;

/** An engine of the crates, served as a worker. */
export type BuiltInEngine =
  /** Returns the words of the prompt. Frontends send it text. */
  | { readonly kind: 'echo'; readonly modelName: string }
  /**
   * Generates random tokens with the timing of an engine and a simulated KV cache. `config` is a `MockerConfig`, with
   * the field names of the crates, such as `{engine: {speedup_ratio: 10}}`.
   */
  | {
      readonly kind: 'mocker';
      readonly modelPath: string;
      /** @default modelPath */
      readonly modelName?: string;
      readonly workerType?: 'aggregated' | 'prefill' | 'decode';
      /** Tokens in a KV cache block, of the card and of the engine. @default `config.engine.block_size`, or 16 */
      readonly kvCacheBlockSize?: number;
      readonly config?: Readonly<Record<string, unknown>>;
    };

type BuiltIn<Kind> = Extract<BuiltInEngine, { readonly kind: Kind }>;

const BUILT_IN_ENGINE = variants<BuiltInEngine>({
  echo: optionTable<BuiltIn<'echo'>>({ kind: oneOf('echo').required(), modelName: text.required() }),
  mocker: optionTable<BuiltIn<'mocker'>>({
    kind: oneOf('mocker').required(),
    modelPath: text.required(),
    modelName: text,
    workerType: oneOf('aggregated', 'prefill', 'decode'),
    kvCacheBlockSize: integer(1, MAX_BLOCK_TOKENS),
    config: custom<Readonly<Record<string, unknown>>>('an object', checkObject),
  }),
});

/** A worker with an engine of the crates. */
export class BuiltInWorker extends Entrypoint {
  private constructor(
    handle: Handle<'entrypoint'>,
    runtime: DistributedRuntime,
    /** The endpoint that it serves. */
    readonly endpoint: string,
  ) {
    super(handle, runtime, 'BuiltInWorker');
  }

  /** Serves an engine on an endpoint, `namespace.component.endpoint`. The worker closes its runtime when it ends. */
  static start(
    runtime: DistributedRuntime | RuntimeOptions,
    endpoint: string,
    engine: BuiltInEngine,
  ): Promise<BuiltInWorker> {
    const path = 'BuiltInWorker.start';
    const served = parseEndpointPath(`${path} endpoint`, endpoint);
    BUILT_IN_ENGINE.check(`${path} engine`, engine);
    const { kind, modelName, modelPath, workerType, kvCacheBlockSize, config } = engine as BuiltIn<'mocker'>;
    const blockSize = kind === 'mocker' ? blockSizeOf(path, config, kvCacheBlockSize) : undefined;
    const args = {
      input: `dyn://${served.path}`,
      engine: kind,
      model: modelPath && realModelPath(modelPath),
      modelName: modelName ?? modelPath,
      workerType,
      kvCacheBlockSize: blockSize,
      mocker: kind === 'mocker' ? mockerConfig(config, blockSize, workerType) : undefined,
    };
    return startEntrypoint(
      path,
      runtime,
      defined(args),
      (handle, owned) => new BuiltInWorker(handle, owned, served.path),
    );
  }
}

/** `MockerConfig.engine`, in the field names of the crates. */
function engineOf(config: Readonly<Record<string, unknown>> = {}): Readonly<Record<string, unknown>> {
  return (config['engine'] ?? {}) as Readonly<Record<string, unknown>>;
}

/** The block size of the card and of the engine. The crates have a default for each, and the two differ. */
function blockSizeOf(
  path: string,
  config: Readonly<Record<string, unknown>> | undefined,
  wanted: number | undefined,
): number {
  const engine = engineOf(config);
  checkObject(`${path} engine.config.engine`, engine);
  const { block_size: configured } = engine;
  if (configured === undefined) return wanted ?? DEFAULT_BLOCK_SIZE;
  const name = `${path} engine.config.engine.block_size`;
  checkInteger(name, configured, 1, MAX_BLOCK_TOKENS);
  if (wanted !== undefined && wanted !== configured)
    throw badArgument(new RangeError(`${name}: expected kvCacheBlockSize (${wanted}), got ${configured}`));
  return configured;
}

/** The engine needs the worker type too: with the card alone, it would be a prefill worker in name only. */
function mockerConfig(
  config: Readonly<Record<string, unknown>> | undefined,
  block_size: number | undefined,
  worker_type: string | undefined,
): unknown {
  return { ...config, engine: { ...engineOf(config), ...defined({ block_size, worker_type }) } };
}
