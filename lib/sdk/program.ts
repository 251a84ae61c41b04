import type { Awaitable } from '../check.js';
import type { BuiltInEngine } from '../llm/built-in-worker.js';
import type { LLMEngine, RawEngine } from '../llm/engine.js';
import type { HttpFrontendOptions } from '../llm/frontend-options.js';
import type { ServeEngineOptions } from '../llm/worker.js';
import type { ServiceContext } from './service-context.js';

/** A program whose parts a function makes in the worker. */
export interface MadeProgram<Kind extends string, Result> {
  readonly kind: Kind;
  /** Called once in each worker. */
  readonly create: (context: ServiceContext) => Awaitable<Result>;
}

/** What a worker of a service runs. */
export type ServiceProgram =
  /** Endpoints in TypeScript. `create` makes what their handlers get as `self`. */
  | MadeProgram<'code', unknown>
  /** An engine in TypeScript behind the frontend. */
  | MadeProgram<'engine', EngineToServe>
  /** An engine of Dynamo's own. */
  | MadeProgram<'builtIn', BuiltInEngine>
  /** The OpenAI-compatible frontend. */
  | MadeProgram<'frontend', HttpFrontendOptions>
  /** A planner, by the options of `plannerService`. The host of the graph runs it. */
  | MadeProgram<'planner', object>
  /** `python -m MODULE ARGS`, such as `dynamo.vllm`. */
  | { readonly kind: 'python'; readonly module: string; readonly args: readonly string[] }
  /** An interface: the graph must link an implementation. */
  | { readonly kind: 'abstract' };

/** An engine with the options of `serveEngine`. */
export interface EngineToServe extends ServeEngineOptions {
  readonly engine: LLMEngine | RawEngine;
}
