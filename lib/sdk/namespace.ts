import { checkName, wrongType } from '../check.js';
import { badArgument, shown } from '../errors.js';
import type { GraphSpec } from './graph-spec.js';
import type { ServiceRole } from './service-options.js';

/** The variables of a process. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** What determines the namespace of a service. */
interface Placed {
  /** As its code says. */
  readonly namespace: string;
  readonly role: ServiceRole;
}

/** Where callers find the workers of a service: in one namespace, or in that of each generation of a deployment. */
export type NamespaceScope =
  | { readonly kind: 'exact'; readonly namespace: string }
  | { readonly kind: 'prefix'; readonly prefix: string; readonly isStrict: boolean };

/** Roles whose workers are replaced in a rolling update, one generation by the next. */
const WORKER_ROLES: ReadonlySet<ServiceRole> = new Set(['worker', 'prefill', 'decode']);

const TRUE = /^(1|true|on|yes)$/i;
/** The suffixes that Dynamo's operator makes. Source: `dynamo-runtime` `namespace.rs`. */
const GENERATION = /^(legacy|[0-9a-f]{8})$/;

/** A name is a part of a file name, with others. */
const MAX_CHARACTERS = 150;

function named(env: Environment, variable: string): string | undefined {
  const value = env[variable];
  if (value === undefined || value === '') return undefined;
  const path = `$${variable}`;
  if (value.length > MAX_CHARACTERS)
    throw badArgument(
      new RangeError(`${path}: expected at most ${MAX_CHARACTERS} characters, got ${value.length}: ${shown(value)}`),
    );
  checkName(path, value);
  if (!/[a-z0-9]/.test(value)) wrongType(path, 'a name with a letter or a digit', value);
  return value;
}

/**
 * `DYN_NAMESPACE` replaces the namespace of the graph, which is that of its entry. A service of another namespace keeps
 * its own.
 */
const baseOf = ({ namespace }: Placed, graph: string, env: Environment): string =>
  (namespace === graph ? named(env, 'DYN_NAMESPACE') : undefined) ?? namespace;

function suffixed(base: string, env: Environment): string {
  const suffix = named(env, 'DYN_NAMESPACE_WORKER_SUFFIX');
  return suffix === undefined || base.endsWith(`-${suffix}`) ? base : `${base}-${suffix}`;
}

/**
 * The namespace in which a worker of a service registers. That of a worker with `DYN_NAMESPACE_WORKER_SUFFIX` ends with
 * it. Source: `dynamo-backend-common` `args.rs`.
 *
 * @param graph the namespace of the entry of its graph
 * @throws RangeError for a variable that is no name
 */
export function servedNamespace(service: Placed, graph: string, env: Environment): string {
  const base = baseOf(service, graph, env);
  return WORKER_ROLES.has(service.role) ? suffixed(base, env) : base;
}

/**
 * Where a caller finds the workers of a service: all generations under `DYN_NAMESPACE_PREFIX`, else that with the
 * caller's `DYN_NAMESPACE_WORKER_SUFFIX`, else its namespace. Source: `dynamo-rl` `lib.rs`.
 *
 * @param graph the namespace of the entry of its graph
 * @throws RangeError for a variable that is no name
 */
export function calledNamespaces(service: Placed, graph: string, env: Environment): NamespaceScope {
  const base = baseOf(service, graph, env);
  if (!WORKER_ROLES.has(service.role)) return { kind: 'exact', namespace: base };
  const prefix = service.namespace === graph ? named(env, 'DYN_NAMESPACE_PREFIX') : undefined;
  if (prefix !== undefined)
    return { kind: 'prefix', prefix, isStrict: TRUE.test(env['DYN_NAMESPACE_PREFIX_STRICT'] ?? '') };
  return { kind: 'exact', namespace: suffixed(base, env) };
}

/**
 * The models that a frontend offers, by the same rule. Without a variable it offers those of all namespaces.
 */
export function frontendScope(env: Environment): { readonly namespace?: string; readonly namespacePrefix?: string } {
  const namespacePrefix = named(env, 'DYN_NAMESPACE_PREFIX');
  if (namespacePrefix !== undefined) return { namespacePrefix };
  const base = named(env, 'DYN_NAMESPACE');
  return base === undefined ? {} : { namespace: suffixed(base, env) };
}

/** Whether a namespace is that of a generation under the prefix. */
export function isGeneration(
  { prefix, isStrict }: Extract<NamespaceScope, { kind: 'prefix' }>,
  namespace: string,
): boolean {
  if (namespace === prefix) return true;
  if (!namespace.startsWith(`${prefix}-`)) return false;
  return !isStrict || GENERATION.test(namespace.slice(prefix.length + 1));
}

/** The namespace of a graph: that of its entry. */
export function graphNamespace({ entry, services }: Pick<GraphSpec, 'entry' | 'services'>): string {
  return services.find(({ name }) => name === entry)?.namespace ?? services[0]?.namespace ?? 'dynamo';
}

/** A graph whose services have the namespaces in which they register. */
export function inNamespace(spec: GraphSpec, env: Environment): GraphSpec {
  const graph = graphNamespace(spec);
  return {
    ...spec,
    services: spec.services.map((service) => ({ ...service, namespace: servedNamespace(service, graph, env) })),
  };
}
