import type { BuiltInEngine } from '../llm/built-in-worker.js';
import type { LLMEngine, RawEngine } from '../llm/engine.js';
import type { HttpFrontendOptions } from '../llm/frontend-options.js';
import type { ServeEngineOptions } from '../llm/worker.js';
import type { ServiceContext } from './service-context.js';

type Made<T> = (context: ServiceContext) => T | Promise<T>;

/** What a worker of a service runs. */
export type ServiceProgram =
  /** Endpoints in TypeScript. `create` makes what their handlers get as `self`. */
  | { readonly kind: 'code'; readonly create: Made<unknown> }
  /** An engine in TypeScript behind the frontend. */
  | { readonly kind: 'engine'; readonly create: Made<EngineToServe> }
  /** An engine of Dynamo's own. */
  | { readonly kind: 'builtIn'; readonly create: Made<BuiltInEngine> }
  /** The OpenAI-compatible frontend. */
  | { readonly kind: 'frontend'; readonly create: Made<HttpFrontendOptions> }
  /** `python -m MODULE ARGS`, such as `dynamo.vllm`. */
  | { readonly kind: 'python'; readonly module: string; readonly args: readonly string[] }
  /** An interface: the graph must link an implementation. */
  | { readonly kind: 'abstract' };

/** An engine with the options of `serveEngine`. */
export interface EngineToServe extends ServeEngineOptions {
  readonly engine: LLMEngine | RawEngine;
}
