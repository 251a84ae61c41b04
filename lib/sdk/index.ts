export { type BuildOptions, type BuiltContext, defineService, type ServiceBuilder } from './builder.js';
export type { ClientOf, EndpointCalls, EndpointClient, EndpointMethod, StreamClient, UnaryClient } from './client.js';
export {
  applyConfig,
  argumentsOf,
  type GraphConfig,
  mergeConfig,
  type ServiceConfig,
} from './config.js';
export { checkConfig } from './config-check.js';
export { ConfigError, type ConfigPath, type ConfigSource, type Section } from './config-source.js';
export { api, endpoint, liveness, onShutdown, onStart, readiness, service, serviceInterface } from './decorators.js';
export type { EndpointDefinition, EndpointOptions, EndpointTransport, HttpMethod } from './endpoint-definition.js';
export { type Graph, GraphError, type GraphOptions, graph } from './graph.js';
export {
  checkGraphSpec,
  type DependencySpec,
  type EndpointSpec,
  GRAPH_SCHEMA,
  type GraphSpec,
  type PythonSpec,
  type ResourcesSpec,
  type ServiceSpec,
} from './graph-spec.js';
export { parseOverrides } from './overrides.js';
export type { EngineToServe, MadeProgram, ServiceProgram } from './program.js';
export {
  builtInService,
  type EngineMethods,
  engineService,
  frontendService,
  type ProgramOptions,
  type PythonOptions,
  pythonService,
} from './programs.js';
export {
  type DisaggregationMode,
  PYTHON_ENGINES,
  type PythonEngine,
  type PythonEngineOptions,
  pythonEngine,
} from './python-engines.js';
export type { Schema, SchemaIssue, SchemaResult } from './schema.js';
export {
  type ClientsOf,
  type Dependencies,
  type Dependency,
  type DependencyMode,
  type DependsOptions,
  depends,
  type FieldDecorator,
  type Hook,
  type HookKind,
  type Service,
  type ServiceLike,
  type ServiceParts,
  type ServiceTarget,
} from './service.js';
export { type ServiceContext, serviceContext } from './service-context.js';
export type { Resources, ServiceOptions, ServiceRole } from './service-options.js';
export { formatXPyD, parseXPyD, type XPyD } from './xpyd.js';
