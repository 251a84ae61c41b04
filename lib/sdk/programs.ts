import { checkFunction } from '../check.js';
import type { BuiltInEngine } from '../llm/built-in-worker.js';
import type { HttpFrontendOptions } from '../llm/frontend-options.js';
import { listOf, type OptionTable, optionTable, text } from '../options.js';
import type { EngineToServe, ServiceProgram } from './program.js';
import { Service } from './service.js';
import type { ServiceContext } from './service-context.js';
import type { ServiceOptions, ServiceRole } from './service-options.js';

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

const make = <T>(made: Made<T>): ((context: ServiceContext) => T | Promise<T>) =>
  typeof made === 'function' ? (made as (context: ServiceContext) => T | Promise<T>) : () => made;

const named = (
  path: string,
  name: string,
  role: ServiceRole,
  options: ServiceOptions,
  program: ServiceProgram,
): Service<Record<never, never>> => new Service(`${path} ${name}`, { role, ...options, name }, { program });

/**
 * The OpenAI-compatible HTTP frontend as a service.
 *
 * @param frontend the options of `Frontend.start`, or a function that makes them in the worker
 *
 * @example
 * import { engineService, frontendService, graph } from 'dynamo-node/sdk';
 *
 * const Frontend = frontendService('Frontend', { port: 8000 });
 * const Worker = engineService('Worker', async () => ({
 *   engine: new (await import('./engine.js')).MyEngine(),
 *   modelPath: './my-model',
 * }));
 *
 * export default graph('chat', Frontend).with(Worker);
 */
export function frontendService(name: string, frontend: Made<HttpFrontendOptions> = {}, options: ServiceOptions = {}) {
  return named('frontendService', name, 'frontend', options, { kind: 'frontend', create: make(frontend) });
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
  return named('engineService', name, 'worker', options, { kind: 'engine', create: engine });
}

/** An engine of Dynamo's own, `echo` or `mocker`, as a service behind the frontend. */
export function builtInService(name: string, engine: Made<BuiltInEngine>, options: ServiceOptions = {}) {
  return named('builtInService', name, 'worker', options, { kind: 'builtIn', create: make(engine) });
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
  return named('pythonService', name, 'worker', options, { kind: 'python', module, args });
}
