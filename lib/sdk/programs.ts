import { type Awaitable, checkFunction } from '../check.js';
import type { BuiltInEngine } from '../llm/built-in-worker.js';
import type { HttpFrontendOptions } from '../llm/frontend-options.js';
import type { LLMEngineOutput, PreprocessedRequest } from '../llm/protocol.js';
import { custom, listOf, type OptionTable, optionTable, text } from '../options.js';
import { defineEndpoint } from './endpoint-definition.js';
import type { EngineToServe, ServiceProgram } from './program.js';
import type { Schema } from './schema.js';
import { checkDependencies, type Dependencies, Service } from './service.js';
import type { ServiceContext } from './service-context.js';
import type { ServiceOptions } from './service-options.js';

/** @inline */
type Make<T, Config> = (context: ServiceContext<Config>) => Awaitable<T>;

/** @inline */
type Made<T, Config> = T | Make<T, Config>;

/** The options of a service whose program a function makes. `Config`: what the function gets as `config`. */
export interface ProgramOptions<Config> extends Omit<ServiceOptions, 'config'> {
  /** The schema of its configuration. @default any object */
  readonly config?: Schema<unknown, Config>;
}

/** The program of Python that `pythonService` runs. */
export interface PythonOptions<Methods = EngineMethods> {
  /** Run as `python -m MODULE`, such as `dynamo.vllm`. Modules in the folder of the graph are found too. */
  readonly module: string;
  readonly args?: readonly string[];
  /**
   * The methods that TypeScript may call. `embedText` is the endpoint `embed_text` of its component. @default
   * ['generate'] for a worker, none for a frontend or a planner
   */
  readonly endpoints?: readonly (keyof Methods & string)[];
  /** The services that it calls by their addresses. The graph runs them too, and starts them first. @default none */
  readonly deps?: Dependencies;
}

const PYTHON: OptionTable<PythonOptions<Record<string, unknown>>> = optionTable<PythonOptions<Record<string, unknown>>>(
  {
    module: text.required().about('The module that Python runs.'),
    args: listOf(text).about('The arguments of the module.'),
    endpoints: listOf(text).about('The methods that TypeScript may call.'),
    deps: custom<Dependencies>('an object', checkDependencies).about('The services that it calls.'),
  },
);

/** The endpoint of an engine, for services that call it with tokens instead of a frontend. */
export interface EngineMethods {
  /** Generates tokens for a prompt of tokens. */
  generate(request: PreprocessedRequest): AsyncIterable<LLMEngineOutput>;
}

/**
 * Methods that all answer with a stream, as endpoints of Python do.
 * @inline
 */
// biome-ignore lint/suspicious/noExplicitAny: any request matches.
type StreamMethods<Methods> = { [Name in keyof Methods]: (request: any) => AsyncIterable<unknown> };

const streamEndpoint = (path: string, property: string) =>
  defineEndpoint(path, property, { stream: true }, undefined, () => {
    throw new Error('another program answers itself');
  });

const make = <T, Config>(made: Made<T, Config>) => (typeof made === 'function' ? made : () => made) as Make<T, unknown>;

interface NamedParts {
  readonly program: ServiceProgram;
  readonly endpoints?: readonly string[] | undefined;
  readonly dependencies?: Dependencies;
}

function named<Methods = Record<never, never>>(
  path: string,
  name: string,
  options: ServiceOptions,
  { program, endpoints, ...parts }: NamedParts,
): Service<Methods> {
  const { role = program.kind === 'frontend' ? 'frontend' : 'worker' } = options;
  const isEngine = role === 'worker' || role === 'prefill' || role === 'decode';
  const methods = endpoints ?? (isEngine ? ['generate'] : []);
  const at = `${path} ${name}`;
  return new Service(
    at,
    { ...options, role, name },
    { ...parts, program, endpoints: methods.map((method) => streamEndpoint(`${at}.${method}`, method)) },
  );
}

/**
 * The OpenAI-compatible HTTP frontend as a service.
 *
 * @param frontend the options of `Frontend.start`, or a function that makes them in the worker
 *
 * @example
 * import { engineService, frontendService, graph } from 'dynamo-node/sdk';
 *
 * const Frontend = frontendService('Frontend', { port: 8000 });
 * const Worker = engineService('Worker', () => ({ engine, modelPath: './my-model' }));
 *
 * export default graph('chat', Frontend).with(Worker);
 */
export function frontendService<Config = unknown>(
  name: string,
  frontend: Made<HttpFrontendOptions, Config> = {},
  options: ProgramOptions<Config> = {},
) {
  return named('frontendService', name, options, { program: { kind: 'frontend', create: make(frontend) } });
}

/**
 * An engine in TypeScript as a service behind the frontend.
 *
 * @param engine makes the engine and the options of `serveEngine`, in the worker
 */
export function engineService<Config = unknown>(
  name: string,
  engine: Make<EngineToServe, Config>,
  options: ProgramOptions<Config> = {},
) {
  checkFunction(`engineService ${name}`, engine);
  return named<EngineMethods>('engineService', name, options, { program: { kind: 'engine', create: make(engine) } });
}

/** An engine of Dynamo's own, `echo` or `mocker`, as a service behind the frontend. */
export function builtInService<Config = unknown>(
  name: string,
  engine: Made<BuiltInEngine, Config>,
  options: ProgramOptions<Config> = {},
) {
  return named<EngineMethods>('builtInService', name, options, { program: { kind: 'builtIn', create: make(engine) } });
}

/**
 * A component of Python as a service, such as `dynamo.vllm`. It gets the discovery of the graph, `DYN_NAMESPACE` and
 * `DYN_ENDPOINT` by its environment. `Methods` has the types of its endpoints if it is no engine.
 *
 * @throws TypeError for a wrong option
 *
 * @example
 * import { pythonService } from 'dynamo-node/sdk';
 *
 * const Worker = pythonService(
 *   'VllmWorker',
 *   { module: 'dynamo.vllm', args: ['--model', 'Qwen/Qwen3-0.6B'] },
 *   { resources: { gpu: 1 } },
 * );
 *
 * interface Ranking {
 *   rank(texts: readonly string[]): AsyncIterable<{ index: number; score: number }>;
 * }
 * const Ranker = pythonService<Ranking>('Ranker', { module: 'ranker', endpoints: ['rank'] });
 */
export function pythonService<Methods extends StreamMethods<Methods> = EngineMethods>(
  name: string,
  python: PythonOptions<Methods>,
  options: ServiceOptions = {},
) {
  PYTHON.check(`pythonService ${name}`, python);
  const { module, args = [], endpoints, deps = {} } = python;
  const program = { kind: 'python', module, args } as const;
  return named<Methods>('pythonService', name, options, { program, endpoints, dependencies: deps });
}
