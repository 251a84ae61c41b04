import { pack, packArgs, packValue, unpack } from '../addon/codec.js';
import { invoke, invokeSync, native } from '../addon/invoke.js';
import {
  checkArray,
  checkBoolean,
  checkInstance,
  checkInteger,
  checkObject,
  checkOneOf,
  checkOptions,
  checkSignal,
  checkString,
  MAX_U32,
  wrongType,
} from '../check.js';
import { defined } from '../options.js';
import { Endpoint } from '../runtime/endpoint.js';
import { checkModelPath, checkPath } from '../runtime/paths.js';
import { checkRouter, type RouterOptions, routerArgs } from './router-options.js';

/** APIs of a frontend that a model can be offered on. Source: `dynamo-llm` `model_type.rs`. */
export const MODEL_TYPES = [
  'chat',
  'completions',
  'embedding',
  'tensor',
  'images',
  'audios',
  'videos',
  'realtime',
  'classify',
  'pooling',
  'rerank',
  'prefill',
] as const;
/**
 * One of {@link MODEL_TYPES}.
 * @useDeclaredType
 */
export type ModelType = (typeof MODEL_TYPES)[number];

/** What a worker is sent: the client's text as it is, tokens, or tensors. */
export const MODEL_INPUTS = ['text', 'tokens', 'tensor'] as const;
/**
 * One of {@link MODEL_INPUTS}.
 * @useDeclaredType
 */
export type ModelInput = (typeof MODEL_INPUTS)[number];

/** The part of a request that a worker does. */
export const WORKER_TYPES = ['aggregated', 'prefill', 'decode', 'encode'] as const;
/**
 * One of {@link WORKER_TYPES}.
 * @useDeclaredType
 */
export type WorkerType = (typeof WORKER_TYPES)[number];

/** The parsers of tool calls and of reasoning that the frontend has, by the names that cards give them. Source: `dynamo-parsers`. */
export function modelParsers(): { readonly toolCall: readonly string[]; readonly reasoning: readonly string[] } {
  return unpack(invokeSync(native.modelParsers, 'modelParsers')) as { toolCall: string[]; reasoning: string[] };
}

/** Dynamo itself finds a parser that is none only in the middle of a request. */
export function checkParsers(path: string, names: { readonly toolCall?: unknown; readonly reasoning?: unknown }): void {
  for (const [kind, name] of Object.entries(names)) {
    if (name !== undefined) checkOneOf(`${path}.${kind}Parser`, name, modelParsers()[kind as 'toolCall' | 'reasoning']);
  }
}

/** A model card. */
export interface ModelOptions {
  /** A folder in Hugging Face layout, or a name on the model hub. Left out, the card has the name alone. */
  readonly modelPath?: string;
  /** The name that clients use. @default modelPath */
  readonly modelName?: string;
  readonly modelAliases?: readonly string[];
  /** @default ['chat', 'completions'] */
  readonly modelTypes?: readonly ModelType[];
  /** @default 'tokens' */
  readonly modelInput?: ModelInput;
  /** @default 'aggregated' */
  readonly workerType?: WorkerType;
  /** Sets of other workers, any of which makes this one complete, such as `[['decode']]` for a prefill worker. @default none */
  readonly needs?: readonly (readonly WorkerType[])[];
  /** The card is of a LoRA adapter of this name. */
  readonly lora?: { readonly name: string; readonly maxGpuLoraCount?: number };
  /** Tokens in a KV cache block. @default 16 */
  readonly kvCacheBlockSize?: number;
  /** Shown in the metrics of frontends; how often a request may move to another worker is for their own `migrationLimit` to say. @default 0 */
  readonly migrationLimit?: number;
  /** A Jinja file in place of the model's own chat template. */
  readonly chatTemplate?: string;
  /** How frontends route to this model, in place of their own way; `sessionAffinityMode` stays theirs. */
  readonly router?: RouterOptions;
  /** `ModelRuntimeConfig` in the crates' own field names: `context_length`, `total_kv_blocks`, `tool_call_parser`, … */
  readonly runtimeConfig?: Readonly<Record<string, unknown>>;
  /** The deployment's own data. */
  readonly userData?: unknown;
  /** `MediaDecoder` and `MediaFetcher` in the crates' own field names, each with its defaults. */
  readonly mediaDecoder?: Readonly<Record<string, unknown>>;
  readonly mediaFetcher?: Readonly<Record<string, unknown>>;
}

const PATH = 'registerModel options';
const STRINGS = ['modelPath', 'modelName', 'chatTemplate'];
const OBJECTS = ['runtimeConfig', 'mediaDecoder', 'mediaFetcher'];
const KNOWN = [
  ...STRINGS,
  ...OBJECTS,
  'modelAliases',
  'modelTypes',
  'modelInput',
  'workerType',
  'needs',
  'lora',
  'kvCacheBlockSize',
  'migrationLimit',
  'router',
  'userData',
];

export function checkModelTypes(path: string, value: unknown): void {
  if (!Array.isArray(value) || value.length === 0) wrongType(path, 'a list of model types', value);
  value.forEach((type, index) => checkOneOf(`${path}[${index}]`, type, MODEL_TYPES));
}

/**
 * Publishes a model card for an endpoint that this runtime serves: frontends then offer the model and send its requests
 * to the endpoint. `serveEngine` does this by itself.
 *
 * @example
 * await registerModel(endpoint, { modelPath: './my-model', modelName: 'my-model' });
 */
export async function registerModel(endpoint: Endpoint, options: ModelOptions): Promise<void> {
  checkInstance('registerModel endpoint', endpoint, Endpoint);
  checkOptions(PATH, options, KNOWN);
  const values = options as Record<string, unknown>;
  for (const name of STRINGS) if (values[name] !== undefined) checkString(`${PATH}.${name}`, values[name]);
  if (options.modelPath !== undefined) checkModelPath(`${PATH}.modelPath`, options.modelPath);
  if (options.chatTemplate !== undefined) checkPath(`${PATH}.chatTemplate`, options.chatTemplate);
  for (const name of OBJECTS) if (values[name] !== undefined) checkObject(`${PATH}.${name}`, values[name]);
  if (options.modelPath === undefined && options.modelName === undefined) {
    throw new TypeError(`${PATH}: expected modelPath or modelName, got neither`);
  }
  const {
    modelTypes = ['chat', 'completions'],
    modelInput = 'tokens',
    workerType = 'aggregated',
    needs = [],
    lora,
  } = options;
  checkModelTypes(`${PATH}.modelTypes`, modelTypes);
  checkOneOf(`${PATH}.modelInput`, modelInput, MODEL_INPUTS);
  checkOneOf(`${PATH}.workerType`, workerType, WORKER_TYPES);
  checkArray(`${PATH}.needs`, needs, 'sets of worker types');
  for (const name of needs.flat()) checkOneOf(`${PATH}.needs`, name, WORKER_TYPES);
  if (options.modelAliases !== undefined) checkArray(`${PATH}.modelAliases`, options.modelAliases, 'names');
  options.modelAliases?.forEach((alias, index) => checkString(`${PATH}.modelAliases[${index}]`, alias));
  if (lora !== undefined) checkLora(`${PATH}.lora`, lora);
  if (options.kvCacheBlockSize !== undefined)
    checkInteger(`${PATH}.kvCacheBlockSize`, options.kvCacheBlockSize, 1, MAX_U32);
  if (options.migrationLimit !== undefined) checkInteger(`${PATH}.migrationLimit`, options.migrationLimit, 0, MAX_U32);
  if (options.router !== undefined) checkRouter(`${PATH}.router`, options.router);
  const args = packValue(
    'registerModel',
    'options',
    {
      ...defined(options),
      modelTypes,
      modelInput,
      workerType,
      needs,
      ...(options.router === undefined ? {} : { router: routerArgs(options.router) }),
      ...(lora === undefined ? {} : { lora: { name: lora.name, max_gpu_lora_count: lora.maxGpuLoraCount } }),
    },
    packArgs,
  );
  await invoke(native.modelRegister, 'registerModel', { handle: endpoint.handle('registerModel'), args });
}

function checkLora(path: string, lora: NonNullable<ModelOptions['lora']>): void {
  checkObject(path, lora, ['name', 'maxGpuLoraCount']);
  checkString(`${path}.name`, lora.name);
  if (lora.maxGpuLoraCount !== undefined) checkInteger(`${path}.maxGpuLoraCount`, lora.maxGpuLoraCount, 1, MAX_U32);
}

/** Takes an endpoint's model card back: the model's own, or that of a LoRA adapter. */
export async function unregisterModel(endpoint: Endpoint, options: { readonly loraName?: string } = {}): Promise<void> {
  checkInstance('unregisterModel endpoint', endpoint, Endpoint);
  checkOptions('unregisterModel options', options, ['loraName']);
  if (options.loraName !== undefined) checkString('unregisterModel options.loraName', options.loraName);
  await invoke(native.modelUnregister, 'unregisterModel', {
    handle: endpoint.handle('unregisterModel'),
    args: pack(defined(options)),
  });
}

/** Replaces the taints of an endpoint's model card, by which requests choose or shun workers. */
export async function updateModelTaints(endpoint: Endpoint, taints: Iterable<string>): Promise<void> {
  checkInstance('updateModelTaints endpoint', endpoint, Endpoint);
  if (typeof taints === 'string' || typeof taints?.[Symbol.iterator] !== 'function')
    wrongType('updateModelTaints taints', 'an iterable of strings', taints);
  const names = [...taints];
  names.forEach((taint, index) => checkString(`updateModelTaints taints[${index}]`, taint));
  const args = pack(names);
  await invoke(native.modelTaints, 'updateModelTaints', { handle: endpoint.handle('updateModelTaints'), args });
}

/** Fetches a model from the model hub into its cache and gives the folder; a local folder is given back as it is. */
export async function fetchModel(
  name: string,
  options: { readonly ignoreWeights?: boolean; readonly signal?: AbortSignal } = {},
): Promise<string> {
  checkString('fetchModel name', name);
  checkOptions('fetchModel options', options, ['ignoreWeights', 'signal']);
  if (options.ignoreWeights !== undefined) checkBoolean('fetchModel options.ignoreWeights', options.ignoreWeights);
  if (options.signal !== undefined) checkSignal('fetchModel options.signal', options.signal);
  const args = pack({ name, ignoreWeights: options.ignoreWeights === true });
  return unpack(await invoke(native.modelFetch, 'fetchModel', { args }, { signal: options.signal })) as string;
}
