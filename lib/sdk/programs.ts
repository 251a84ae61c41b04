import { checkFunction } from '../check.js';
import type { BuiltInEngine } from '../llm/built-in-worker.js';
import type { HttpFrontendOptions } from '../llm/frontend-options.js';
import type { LLMEngineOutput, PreprocessedRequest } from '../llm/protocol.js';
import { listOf, type OptionTable, optionTable, text } from '../options.js';
import { defineEndpoint } from './endpoint-definition.js';
import type { EngineToServe, ServiceProgram } from './program.js';
import { Service } from './service.js';
import type { ServiceContext } from './service-context.js';
import type { ServiceOptions } from './service-options.js';

/** @inline */
type Made<T> = T | ((context: ServiceContext) => T | Promise<T>);

/** The program of Python that `pythonService` runs. */
export interface PythonOptions {
  /** Run as `python -m MODULE`, such as `dynamo.vllm`. */
  readonly module: string;
  readonly args?: readonly string[];
}

const PYTHON: OptionTable<PythonOptions> = optionTable<PythonOptions>({
  module: text.required().about('The module that Python runs.'),
  args: listOf(text).about('The arguments of the module.'),
});

/** The endpoint of an engine, for services that call it with tokens instead of a frontend. */
export interface EngineMethods {
  /** Generates tokens for a prompt of tokens. */
  generate(request: PreprocessedRequest): AsyncIterable<LLMEngineOutput>;
}

const GENERATE = defineEndpoint('generate', 'generate', { stream: true }, undefined, () => {
  throw new Error('an engine answers itself');
});

const make = <T>(made: Made<T>): ((context: ServiceContext) => T | Promise<T>) =>
  typeof made === 'function' ? (made as (context: ServiceContext) => T | Promise<T>) : () => made;

const named = <Methods = Record<never, never>>(
  path: string,
  name: string,
  options: ServiceOptions,
  program: ServiceProgram,
): Service<Methods> => {
  const { role = program.kind === 'frontend' ? 'frontend' : 'worker' } = options;
  const isEngine = role === 'worker' || role === 'prefill' || role === 'decode';
  return new Service(`${path} ${name}`, { ...options, role, name }, { program, endpoints: isEngine ? [GENERATE] : [] });
};

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
export function frontendService(name: string, frontend: Made<HttpFrontendOptions> = {}, options: ServiceOptions = {}) {
  return named('frontendService', name, options, { kind: 'frontend', create: make(frontend) });
}

/**
 * An engine in TypeScript as a service behind the frontend.
 *
 * @param engine makes the engine and the options of `serveEngine`, in the worker
 */
export function engineService(
  name: string,
  engine: (context: ServiceContext) => EngineToServe | Promise<EngineToServe>,
  options: ServiceOptions = {},
) {
  checkFunction(`engineService ${name}`, engine);
  return named<EngineMethods>('engineService', name, options, { kind: 'engine', create: engine });
}

/** An engine of Dynamo's own, `echo` or `mocker`, as a service behind the frontend. */
export function builtInService(name: string, engine: Made<BuiltInEngine>, options: ServiceOptions = {}) {
  return named<EngineMethods>('builtInService', name, options, { kind: 'builtIn', create: make(engine) });
}

/**
 * A component of Python as a service, such as `dynamo.vllm`. It gets the discovery of the graph by its environment.
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
 */
export function pythonService(name: string, python: PythonOptions, options: ServiceOptions = {}) {
  PYTHON.check(`pythonService ${name}`, python);
  const { module, args = [] } = python;
  return named<EngineMethods>('pythonService', name, options, { kind: 'python', module, args });
}
