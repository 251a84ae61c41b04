import type { Handle } from '../addon/native.js';
import { checkObject, MAX_U32 } from '../check.js';
import { custom, defined, integer, oneOf, optionTable, text, variants } from '../options.js';
import type { RuntimeOptions } from '../runtime/config.js';
import type { DistributedRuntime } from '../runtime/distributed-runtime.js';
import { parseEndpointPath } from '../runtime/endpoint-path.js';
import { Entrypoint, startEntrypoint } from './entrypoint.js';

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
      /** Tokens in a KV cache block. @default 16 */
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
    kvCacheBlockSize: integer(1, MAX_U32),
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
    const args = {
      input: `dyn://${served.path}`,
      engine: kind,
      model: modelPath,
      modelName,
      workerType,
      kvCacheBlockSize,
      mocker: mockerConfig(path, config, workerType),
    };
    return startEntrypoint(
      path,
      runtime,
      defined(args),
      (handle, owned) => new BuiltInWorker(handle, owned, served.path),
    );
  }
}

/** The engine needs the worker type too: with the card alone, it would be a prefill worker in name only. */
function mockerConfig(
  path: string,
  config: Readonly<Record<string, unknown>> | undefined,
  workerType: string | undefined,
): unknown {
  if (workerType === undefined) return config;
  const { engine = {} } = config ?? {};
  checkObject(`${path} engine.config.engine`, engine);
  return { ...config, engine: { ...engine, worker_type: workerType } };
}
