import { pack, packArgs, packValue, unpack } from '../addon/codec.js';
import { invoke, invokeSync, native } from '../addon/invoke.js';
import {
  checkArray,
  checkInstance,
  checkObject,
  checkOneOf,
  checkString,
  MAX_BLOCK_TOKENS,
  MAX_U32,
  wrongType,
} from '../check.js';
import { badArgument } from '../errors.js';
import {
  anything,
  boolean,
  custom,
  defined,
  integer,
  listOf,
  nested,
  type Option,
  type OptionTable,
  oneOf,
  optionTable,
  signal,
  text,
} from '../options.js';
import { WORKER_TYPES, type WorkerType } from '../router/worker-type.js';
import { Endpoint } from '../runtime/endpoint.js';
import { checkModelPath, checkPath, realModelPath } from '../runtime/paths.js';
import { CardConflicts } from './card-conflicts.js';
import { type RouterOptions, routerArgs, routerRow } from './router-options.js';

/** The frontend APIs on which a model can be offered. Source: `dynamo-llm` `model_type.rs`. */
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

/** What a worker receives: the client's text unchanged, tokens, or tensors. */
export const MODEL_INPUTS = ['text', 'tokens', 'tensor'] as const;
/**
 * One of {@link MODEL_INPUTS}.
 * @useDeclaredType
 */
export type ModelInput = (typeof MODEL_INPUTS)[number];

/**
 * Names of the frontend's parsers of tool calls and of reasoning, as model cards use them. Source: `dynamo-parsers`.
 */
export function modelParsers(): { readonly toolCall: readonly string[]; readonly reasoning: readonly string[] } {
  return unpack(invokeSync(native.modelParsers, 'modelParsers')) as { toolCall: string[]; reasoning: string[] };
}

/** A model card. */
export interface ModelOptions {
  /** A folder in Hugging Face layout, or a name on the model hub. Without it, the card contains only the name. */
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
  /**
   * Sets of other worker types. The worker is complete if all workers of one set are present, such as `[['decode']]`
   * for a prefill worker.
   * @default none
   */
  readonly needs?: readonly (readonly WorkerType[])[];
  /** The card describes a LoRA adapter of this name. */
  readonly lora?: { readonly name: string; readonly maxGpuLoraCount?: number };
  /** Tokens in a KV cache block. @default 16 */
  readonly kvCacheBlockSize?: number;
  /**
   * Shown in the metrics of frontends. The `migrationLimit` of a frontend decides how often a request may move to
   * another worker.
   * @default 0
   */
  readonly migrationLimit?: number;
  /** A Jinja file that replaces the model's own chat template. */
  readonly chatTemplate?: string;
  /** How frontends route to this model. Replaces their own options, except `sessionAffinityMode`. */
  readonly router?: RouterOptions;
  /**
   * `ModelRuntimeConfig`, with the field names of the crates: `context_length`, `total_kv_blocks`, `tool_call_parser`,
   * …
   */
  readonly runtimeConfig?: Readonly<Record<string, unknown>>;
  /** Free-form data of the deployment. */
  readonly userData?: unknown;
  /** `MediaDecoder`, with the field names and defaults of the crates. */
  readonly mediaDecoder?: Readonly<Record<string, unknown>>;
  /** `MediaFetcher`, with the field names and defaults of the crates. */
  readonly mediaFetcher?: Readonly<Record<string, unknown>>;
}

/** An object with the field names of the crates. The native side checks its fields. */
export const crateObject: Option<Readonly<Record<string, unknown>>> = custom('an object', checkObject);

export const modelPathRow: Option<string> = custom<string>('a folder or a model name', checkModelPath, 'text').about(
  "The model's folder in Hugging Face layout, or its name on the model hub.",
);

export const modelTypesRow: Option<readonly ModelType[]> = custom<readonly ModelType[]>(
  'a list of model types',
  (path, value) => {
    if (!Array.isArray(value) || value.length === 0) wrongType(path, 'a list of model types', value);
    value.forEach((type, index) => checkOneOf(`${path}[${index}]`, type, MODEL_TYPES));
  },
  'list',
).about('APIs on which the model is offered.');

export const chatTemplateRow: Option<string> = custom<string>('the path of a file', checkPath, 'text').about(
  "A Jinja file that replaces the model's own chat template.",
);

const LORA_OPTIONS = optionTable<NonNullable<ModelOptions['lora']>>({
  name: text.about('Name of the adapter.').required(),
  maxGpuLoraCount: integer(1, MAX_U32).about('The number of adapters that fit on the worker.'),
});

function checkNeeds(path: string, needs: unknown): void {
  checkArray(path, needs, 'sets of worker types');
  for (const name of needs.flat()) checkOneOf(path, name, WORKER_TYPES);
}

/** @internal */
export const MODEL_OPTIONS: OptionTable<ModelOptions> = optionTable<ModelOptions>({
  modelPath: modelPathRow,
  modelName: text.about('The name that clients use.'),
  modelAliases: listOf(text, 'names').about('Additional names that clients may use.'),
  modelTypes: modelTypesRow,
  modelInput: oneOf(...MODEL_INPUTS).about('What a worker receives: text, tokens or tensors.'),
  workerType: oneOf(...WORKER_TYPES).about('The part of a request that the worker does.'),
  needs: custom<NonNullable<ModelOptions['needs']>>('an array of sets of worker types', checkNeeds).about(
    'Sets of other worker types, one of which must be present.',
  ),
  lora: nested(LORA_OPTIONS).about('The LoRA adapter that the card describes.'),
  kvCacheBlockSize: integer(1, MAX_BLOCK_TOKENS).about('Tokens in a KV cache block.'),
  migrationLimit: integer(0, MAX_U32).about('Shown in the metrics of frontends.'),
  chatTemplate: chatTemplateRow,
  router: routerRow,
  runtimeConfig: crateObject.about('ModelRuntimeConfig, with the field names of the crates.'),
  userData: anything.about('Free-form data of the deployment.'),
  mediaDecoder: crateObject.about('MediaDecoder, with the field names of the crates.'),
  mediaFetcher: crateObject.about('MediaFetcher, with the field names of the crates.'),
});

const PATH = 'registerModel options';

/** Endpoints whose cards are compared with those of other workers, until their runtime closes. */
const watched = new WeakSet<Endpoint>();

/**
 * Publishes a model card for an endpoint that this runtime serves. Frontends then offer the model and send its requests
 * to the endpoint. `serveEngine` publishes a card automatically. A worker of the model with another card is reported as
 * a warning `DYN_CARD_CONFLICT` of the process, because a frontend serves only one of the two.
 *
 * @example
 * await registerModel(endpoint, { modelPath: './my-model', modelName: 'my-model' });
 */
export async function registerModel(endpoint: Endpoint, options: ModelOptions): Promise<void> {
  checkInstance('registerModel endpoint', endpoint, Endpoint);
  MODEL_OPTIONS.check(PATH, options);
  if (options.modelPath === undefined && options.modelName === undefined) {
    throw badArgument(new TypeError(`${PATH}: expected modelPath or modelName, got neither`));
  }
  const { lora, router, modelPath, modelName = modelPath } = options;
  const args = packValue(
    'registerModel',
    'options',
    {
      modelTypes: ['chat', 'completions'],
      modelInput: 'tokens',
      workerType: 'aggregated',
      needs: [],
      ...defined({ ...options, modelName, modelPath: modelPath && realModelPath(modelPath) }),
      ...(router === undefined ? {} : { router: routerArgs(router) }),
      ...(lora === undefined ? {} : { lora: { name: lora.name, max_gpu_lora_count: lora.maxGpuLoraCount } }),
    },
    packArgs,
  );
  await invoke(native.modelRegister, 'registerModel', { handle: endpoint.handle('registerModel'), args });
  if (watched.has(endpoint)) return;
  watched.add(endpoint);
  new CardConflicts(endpoint);
}

/** @inline */
interface UnregisterOptions {
  readonly loraName?: string;
}

const UNREGISTER_OPTIONS: OptionTable<UnregisterOptions> = optionTable<UnregisterOptions>({
  loraName: text.about('The LoRA adapter whose card is removed.'),
});

/** Removes the model card of an endpoint: the model's own card, or that of a LoRA adapter. */
export async function unregisterModel(endpoint: Endpoint, options: UnregisterOptions = {}): Promise<void> {
  checkInstance('unregisterModel endpoint', endpoint, Endpoint);
  UNREGISTER_OPTIONS.check('unregisterModel options', options);
  await invoke(native.modelUnregister, 'unregisterModel', {
    handle: endpoint.handle('unregisterModel'),
    args: pack(defined(options)),
  });
}

/** Replaces the taints of an endpoint's model card. Requests use them to prefer or avoid workers. */
export async function updateModelTaints(endpoint: Endpoint, taints: Iterable<string>): Promise<void> {
  checkInstance('updateModelTaints endpoint', endpoint, Endpoint);
  if (typeof taints === 'string' || typeof taints?.[Symbol.iterator] !== 'function')
    wrongType('updateModelTaints taints', 'an iterable of strings', taints);
  const names = [...taints];
  names.forEach((taint, index) => checkString(`updateModelTaints taints[${index}]`, taint));
  const args = pack(names);
  await invoke(native.modelTaints, 'updateModelTaints', { handle: endpoint.handle('updateModelTaints'), args });
}

/** @inline */
interface FetchOptions {
  readonly ignoreWeights?: boolean;
  readonly signal?: AbortSignal;
}

const FETCH_OPTIONS: OptionTable<FetchOptions> = optionTable<FetchOptions>({
  ignoreWeights: boolean.about('Fetch everything except the weights.'),
  signal: signal.about('Cancels the wait.'),
});

/**
 * Fetches a model from the model hub into its cache and returns the folder. The path of a local folder is returned
 * unchanged.
 */
export async function fetchModel(name: string, options: FetchOptions = {}): Promise<string> {
  checkString('fetchModel name', name);
  FETCH_OPTIONS.check('fetchModel options', options);
  const args = pack({ name, ignoreWeights: options.ignoreWeights === true });
  return unpack(await invoke(native.modelFetch, 'fetchModel', { args }, { signal: options.signal })) as string;
}
