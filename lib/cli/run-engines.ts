import { existsSync, readdirSync, statSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { findGraph } from '../deploy/load-graph.js';
import { BuiltInWorker } from '../llm/built-in-worker.js';
import type { LLMEngine } from '../llm/engine.js';
import { serveEngine } from '../llm/worker.js';
import { defined } from '../options.js';
import type { RuntimeOptions } from '../runtime/config.js';
import { DistributedRuntime } from '../runtime/distributed-runtime.js';
import { CliError, type CommandIo, EXIT, usageError } from './command.js';
import { inputFile } from './input-file.js';
import { readJsonObject } from './json-file.js';
import type { RunOptions } from './run.js';
import { PythonWorker } from './run-python.js';
import type { Output } from './run-words.js';

/** What an engine of `dynamo run` is started with. */
export interface EngineRequest {
  readonly model: string | undefined;
  readonly options: RunOptions;
  /** `namespace.component.endpoint`. */
  readonly endpoint: string;
  readonly runtime: RuntimeOptions;
  readonly io: CommandIo;
  /** More arguments of a Python engine. */
  readonly rest: readonly string[];
}

/** An engine that serves its endpoint, or is about to. */
export interface RunningEngine {
  /** The name of the model for clients. */
  readonly modelName: string;
  /** Rejects with the reason if the engine ends without a `close`. */
  readonly ended: Promise<void>;
  /** Whether it is in this process: then it is ready. */
  readonly isLocal: boolean;
  /** Ends its log, which would come between the lines of a chat. */
  quiet?(): void;
  close(): Promise<void>;
}

type Starter<Kind extends Output['kind']> = (
  output: Extract<Output, { kind: Kind }>,
  request: EngineRequest,
) => Promise<RunningEngine>;

const ROLES = { agg: 'aggregated', prefill: 'prefill', decode: 'decode' } as const;

/** The name that clients use: of a folder its last part, else the model itself. */
export function modelNameOf({
  model,
  options,
  io,
}: Pick<EngineRequest, 'model' | 'options' | 'io'>): string | undefined {
  if (options.modelName !== undefined || model === undefined) return options.modelName;
  const folder = resolve(io.cwd, model);
  return existsSync(folder) ? basename(folder) : model;
}

const noModel = (path: string, message: string, hint?: string): CliError =>
  new CliError('E_NO_MODEL', `${path}: ${message}`, { exitCode: EXIT.noInput, path, ...(hint && { hint }) });

/** A local folder as an absolute path, else the name on the model hub. */
function modelPathOf({ model, io }: EngineRequest): string | undefined {
  if (model === undefined) return undefined;
  const folder = resolve(io.cwd, model);
  if (existsSync(folder)) return folder;
  if (/^[./~]/.test(model)) throw noModel(folder, 'no such model');
  return model;
}

/** The files of a model that Dynamo's crates need, by the usual one of them. Source: dynamo-llm `model_card.rs`. */
const MODEL_FILES = {
  'config.json': /^(config|params)\.json$/,
  'tokenizer.json': /^(tokenizer\.json|tiktoken\.model|.*\.tiktoken)$/,
} as const;

/**
 * Checks the folder of a model for an engine in this process. The name of a model on the hub is not checked.
 *
 * @throws CliError `E_NO_MODEL` (66) that names the missing file
 */
function checkModel(path: string | undefined, needed: readonly (keyof typeof MODEL_FILES)[]): void {
  if (path === undefined || !existsSync(path)) return;
  if (!statSync(path).isDirectory()) throw noModel(path, 'expected the folder of a model, got a file');
  const files = readdirSync(path);
  const missing = needed.find((name) => !files.some((file) => MODEL_FILES[name].test(file)));
  if (missing === undefined) return;
  const hint = 'A model is a folder in Hugging Face layout, or a name on the model hub.';
  throw noModel(path, `expected a model, but there is no ${missing}`, hint);
}

function neededModel(request: EngineRequest, engine: string): string {
  const path = modelPathOf(request);
  if (path === undefined)
    throw usageError(
      `out=${engine} needs a model`,
      `name its folder or its name on the model hub: out=${engine} MODEL`,
    );
  return path;
}

const starters: { readonly [Kind in Exclude<Output['kind'], 'dyn'>]: Starter<Kind> } = {
  async echo(_, request) {
    const modelName = modelNameOf(request) ?? 'echo';
    return builtIn(
      await BuiltInWorker.start(request.runtime, request.endpoint, { kind: 'echo', modelName }),
      modelName,
    );
  },

  async mocker(_, request) {
    const modelPath = neededModel(request, 'mocker');
    checkModel(modelPath, ['config.json', 'tokenizer.json']);
    const modelName = modelNameOf(request) as string;
    const { kvCacheBlockSize, disaggregationMode, extraEngineArgs } = request.options;
    const engine = extraEngineArgs === undefined ? undefined : readJsonObject(extraEngineArgs, request.io.cwd);
    const worker = await BuiltInWorker.start(request.runtime, request.endpoint, {
      kind: 'mocker',
      modelPath,
      modelName,
      ...(defined({
        kvCacheBlockSize,
        workerType: disaggregationMode && ROLES[disaggregationMode],
        config: engine && { engine },
      }) as object),
    });
    return builtIn(worker, modelName);
  },

  async js({ file, exportName }, request) {
    const loaded = await loadEngine(file, exportName, request.io.cwd);
    const given = modelPathOf(request);
    const modelPath = given ?? loaded.modelPath;
    checkModel(modelPath, ['config.json']);
    const named = modelNameOf({ ...request, model: given ?? loaded.modelPath });
    const { disaggregationMode } = request.options;
    const runtime = await DistributedRuntime.create(request.runtime);
    let modelName = named;
    const { engine } = loaded;
    // The name that the engine states is the name of the model, unless a flag states another one.
    const start = engine.start.bind(engine);
    engine.start = async (worker) => {
      const config = await start(worker);
      modelName = request.options.modelName ?? config.servedModelName ?? config.model;
      return config;
    };
    try {
      const worker = await serveEngine(runtime.endpoint(request.endpoint), engine, {
        ...(defined({
          modelPath,
          modelName: request.options.modelName,
          workerType: disaggregationMode && ROLES[disaggregationMode],
        }) as object),
      });
      await worker.ready;
      return {
        modelName: modelName ?? 'model',
        ended: worker.ended,
        isLocal: true,
        close: async () => {
          await worker.close();
          await runtime.close();
        },
      };
    } catch (error) {
      await runtime.close();
      throw error;
    }
  },

  async python({ engine }, request) {
    const model = neededModel(request, engine);
    const modelName = modelNameOf(request) as string;
    const { io, options, endpoint, rest, runtime } = request;
    const worker = await PythonWorker.start(engine, { model, modelName, options, endpoint, rest, runtime, io });
    return { modelName, ended: worker.ended, isLocal: false, quiet: () => worker.quiet(), close: () => worker.close() };
  },
};

async function builtIn(worker: BuiltInWorker, modelName: string): Promise<RunningEngine> {
  try {
    await worker.ready;
  } catch (error) {
    await worker.close();
    throw error;
  }
  return { modelName, ended: worker.ended, isLocal: true, close: () => worker.close() };
}

/** Starts the engine of `output`. One in this process is ready when the promise resolves. */
export function startEngine(output: Exclude<Output, { kind: 'dyn' }>, request: EngineRequest): Promise<RunningEngine> {
  return starters[output.kind](output as never, request);
}

/** The engine that a module exports: an object, a class, or a function that returns one. */
async function loadEngine(
  name: string,
  exportName = 'default',
  cwd: string,
): Promise<{ engine: LLMEngine; modelPath: string | undefined }> {
  const { path } = inputFile(name, cwd, 'E_NO_ENGINE');
  const fail = (message: string, cause?: unknown): never => {
    throw new CliError('E_BAD_ENGINE', `${path}: ${message}`, { exitCode: EXIT.data, path, cause });
  };
  const { loader } = findGraph(path, cwd);
  if (loader !== undefined) await import(loader);
  const exports = (await import(pathToFileURL(path).href).catch((error: Error) =>
    fail(`cannot be loaded: ${error.message}`, error),
  )) as Record<string, unknown>;
  const exported = exports[exportName];
  const known = Object.keys(exports).join(', ') || 'none';
  if (exported === undefined) fail(`has no export '${exportName}'; it has ${known}. Select one with #NAME`);
  const made =
    typeof exported !== 'function'
      ? exported
      : typeof (exported as { prototype?: { generate?: unknown } }).prototype?.generate === 'function'
        ? new (exported as new () => unknown)()
        : await (exported as () => unknown)();
  const { generate, start } = (made ?? {}) as Partial<LLMEngine>;
  if (typeof generate !== 'function' || typeof start !== 'function')
    fail(`expected '${exportName}' to be an LLMEngine, with start and generate`);
  const { modelPath } = exports;
  return { engine: made as LLMEngine, modelPath: typeof modelPath === 'string' ? modelPath : undefined };
}
