import { boolean, integer, listOf, type OptionTable, oneOf, optionTable, text } from '../options.js';
import type { PythonOptions } from './programs.js';

/** The Python engines of Dynamo. */
export const PYTHON_ENGINES = ['vllm', 'sglang', 'trtllm'] as const;
/**
 * A Python engine of Dynamo.
 * @useDeclaredType
 */
export type PythonEngine = (typeof PYTHON_ENGINES)[number];

/** The part of a request that a Python engine does: all of it, or one part. */
export type DisaggregationMode = 'agg' | 'prefill' | 'decode';

/** The options of this package that engines have under other names. */
export type EngineOption =
  | 'contextLength'
  | 'kvCacheBlockSize'
  | 'tensorParallelSize'
  | 'disaggregationMode'
  | 'baseGpuId'
  | 'numNodes'
  | 'nodeRank'
  | 'leaderAddr';

/** The flags of an engine. */
export interface PythonEngineFlags {
  /** The Python package of the engine, which is not part of Dynamo's. */
  readonly needs: string;
  readonly model: string;
  readonly flags: { readonly [Name in EngineOption]?: string };
  /** The flag of a JSON file with more options; without it, each of them becomes a flag. */
  readonly extra?: string;
  /** The arguments by which NIXL moves the KV cache from prefill to decode. */
  readonly handOver: Readonly<Record<Exclude<DisaggregationMode, 'agg'>, readonly string[]>>;
  /** Flags that set the same. If one of them is given, `handOver` is left out. */
  readonly handOverFlags: readonly string[];
}

const vllmConnector = (role: string): readonly string[] => [
  '--kv-transfer-config',
  JSON.stringify({ kv_connector: 'NixlConnector', kv_role: role }),
];
// Its default is Mooncake, which `pip install ai-dynamo[sglang]` does not install.
const sglangBackend: readonly string[] = ['--disaggregation-transfer-backend', 'nixl'];
const trtllmTransceiver: readonly string[] = ['--trtllm.cache_transceiver_config.backend', 'NIXL'];

/**
 * The flags of each engine. Source: the argument parsers of `dynamo.vllm`, `dynamo.sglang` and `dynamo.trtllm` 1.6.1,
 * of vLLM 0.31.0 and SGLang 0.5.21, and the deployments in `dynamo.profiler`.
 */
export const ENGINE_FLAGS: { readonly [Name in PythonEngine]: PythonEngineFlags } = {
  vllm: {
    needs: 'vllm',
    model: '--model',
    flags: {
      contextLength: '--max-model-len',
      kvCacheBlockSize: '--block-size',
      tensorParallelSize: '--tensor-parallel-size',
      disaggregationMode: '--disaggregation-mode',
      numNodes: '--nnodes',
      nodeRank: '--node-rank',
      leaderAddr: '--master-addr',
    },
    handOver: { prefill: vllmConnector('kv_producer'), decode: vllmConnector('kv_consumer') },
    handOverFlags: ['--kv-transfer-config'],
  },
  sglang: {
    needs: 'sglang',
    model: '--model-path',
    flags: {
      contextLength: '--context-length',
      kvCacheBlockSize: '--page-size',
      tensorParallelSize: '--tp-size',
      disaggregationMode: '--disaggregation-mode',
      baseGpuId: '--base-gpu-id',
      numNodes: '--nnodes',
      nodeRank: '--node-rank',
      leaderAddr: '--dist-init-addr',
    },
    handOver: { prefill: sglangBackend, decode: sglangBackend },
    handOverFlags: ['--disaggregation-transfer-backend', '--config', '--disagg-config'],
  },
  trtllm: {
    needs: 'tensorrt_llm',
    model: '--model',
    flags: {
      contextLength: '--max-seq-len',
      kvCacheBlockSize: '--kv-block-size',
      tensorParallelSize: '--tensor-parallel-size',
      disaggregationMode: '--disaggregation-mode',
    },
    extra: '--extra-engine-args',
    handOver: {
      // The overlap scheduler of TensorRT-LLM does not work with a prefill that ends after one token.
      prefill: [...trtllmTransceiver, '--trtllm.disable_overlap_scheduler', 'true'],
      decode: trtllmTransceiver,
    },
    handOverFlags: ['--override-engine-args', '--extra-engine-args', '--trtllm.cache_transceiver_config'],
  },
};

/** Values of the options that an engine has, and arguments that are passed on as they are. */
export type EngineArguments = Readonly<Partial<Record<EngineOption, string | number>>> & {
  readonly rest: readonly string[];
};

/**
 * The arguments of an engine after its model: its flags, those of the hand-over, then `rest`. The parsers take the last
 * value of a flag.
 */
export function engineArguments(engine: PythonEngine, { rest, ...options }: EngineArguments): string[] {
  const { flags, handOver, handOverFlags } = ENGINE_FLAGS[engine];
  const mode = options.disaggregationMode;
  const args = Object.entries(flags).flatMap(([name, flag]) => {
    const value = options[name as EngineOption];
    return value === undefined || value === 'agg' ? [] : [flag, String(value)];
  });
  const isSet = rest.some((word) =>
    handOverFlags.some((flag) => word.startsWith(flag) && /^([.=]|$)/.test(word.slice(flag.length))),
  );
  if ((mode === 'prefill' || mode === 'decode') && !isSet) args.push(...handOver[mode]);
  return [...args, ...rest];
}

/** A worker with a Python engine of Dynamo. */
export interface PythonEngineOptions {
  readonly engine: PythonEngine;
  /** A folder, or a name of Hugging Face. */
  readonly model: string;
  /** The name for clients. @default the model */
  readonly modelName?: string;
  /** The part of a request that the worker does. @default 'agg' */
  readonly disaggregationMode?: DisaggregationMode;
  /** GPUs over which the model is split. @default 1 */
  readonly tensorParallelSize?: number;
  /** Tokens in a block of the KV cache. @default that of the engine */
  readonly kvCacheBlockSize?: number;
  /** Tokens of a prompt and its answer. @default that of the model */
  readonly contextLength?: number;
  /**
   * Run the mocker of Dynamo instead of the engine, with the scheduler of that engine: no GPU, no engine and no model
   * weights are needed, and the tokens mean nothing.
   * @default false
   */
  readonly standIn?: boolean;
  /** Further arguments of the engine, or of the mocker. They win over those that the other options make. */
  readonly args?: readonly string[];
}

const PYTHON_ENGINE: OptionTable<PythonEngineOptions> = optionTable<PythonEngineOptions>({
  engine: oneOf(...PYTHON_ENGINES)
    .required()
    .about('The engine.'),
  model: text.required().about('A folder, or a name of Hugging Face.'),
  modelName: text.about('The name for clients.'),
  disaggregationMode: oneOf('agg', 'prefill', 'decode').about('The part of a request that the worker does.'),
  tensorParallelSize: integer(1).about('GPUs over which the model is split.'),
  kvCacheBlockSize: integer(1).about('Tokens in a block of the KV cache.'),
  contextLength: integer(1).about('Tokens of a prompt and its answer.'),
  standIn: boolean.about('Run the mocker of Dynamo instead of the engine.'),
  args: listOf(text).about('Further arguments.'),
});

/**
 * The program of a worker with a Python engine, for `pythonService`: the roles of prefill and decode, tensor
 * parallelism, and the parameters by which NIXL moves the KV cache between them. With `standIn` the mocker runs in its
 * place, in one process whatever `tensorParallelSize` is.
 *
 * @throws TypeError or RangeError for a wrong option
 *
 * @example
 * import { pythonEngine, pythonService } from 'dynamo-node/sdk';
 *
 * const Prefill = pythonService(
 *   'Prefill',
 *   pythonEngine({ engine: 'sglang', model: 'Qwen/Qwen3-0.6B', disaggregationMode: 'prefill', tensorParallelSize: 2 }),
 *   { role: 'prefill', resources: { gpu: 2 } },
 * );
 */
export function pythonEngine(options: PythonEngineOptions): PythonOptions {
  PYTHON_ENGINE.check('pythonEngine', options);
  const { engine, model, modelName, standIn = false, args: rest = [], ...values } = options;
  if (standIn) return { module: 'dynamo.mocker', args: [...mockerArguments(options), ...rest] };
  const name = modelName === undefined ? [] : ['--served-model-name', modelName];
  return {
    module: `dynamo.${engine}`,
    args: [ENGINE_FLAGS[engine].model, model, ...name, ...engineArguments(engine, { ...values, rest })],
  };
}

/** The arguments of the mocker in the place of an engine. It has no tensor parallelism. */
function mockerArguments({
  engine,
  model,
  modelName,
  disaggregationMode = 'agg',
  kvCacheBlockSize,
  contextLength,
}: PythonEngineOptions): string[] {
  const given = (flag: string, value: string | number | undefined): string[] =>
    value === undefined ? [] : [flag, String(value)];
  return [
    ...['--model-path', model, '--engine-type', engine, '--disaggregation-mode', disaggregationMode],
    ...given('--model-name', modelName),
    ...given('--block-size', kvCacheBlockSize),
    ...given('--max-model-len', contextLength),
  ];
}
