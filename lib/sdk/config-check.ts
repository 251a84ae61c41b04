import { type GraphConfig, SERVICE_ARG_NAMES } from './config.js';
import { ConfigError } from './config-source.js';
import type { Graph } from './graph.js';
import { keysOf, pathOf, unknownKeysOf } from './schema.js';

/** Where `ServiceArgs` has the key of a parameter. Undefined if it has none. */
function argOf(service: string, [key = '', ...deeper]: readonly string[]): string | undefined {
  return deeper.length === 0 && SERVICE_ARG_NAMES.includes(key) ? `${service}.ServiceArgs.${key}` : undefined;
}

/**
 * Warnings for keys of `ServiceArgs` that stand beside it, such as `--Worker.workers=2`. They are parameters there,
 * which is rarely meant. A schema that declares such a key means it; a program of Python gets it as an argument.
 */
export function misplacedArgs(graph: Graph, config: GraphConfig): string[] {
  const open = graph.services.filter(({ options, program }) => !options.config && program.kind !== 'python');
  return open.flatMap(({ name }) =>
    Object.keys(config.services[name]?.config ?? {}).flatMap((key) => {
      const arg = argOf(name, [key]);
      if (arg === undefined) return [];
      const place = config.placeOf([name, key], 'key');
      const found = `${name}.${key} is a parameter of the service; its option is ${arg}`;
      return [place === undefined ? found : `${found} (${place})`];
    }),
  );
}

/**
 * Checks the parameters of all services by their schemas, so that a fault is known before a worker starts.
 *
 * @throws ConfigError `config.refused` with all faults, each with the place of its value; `config.unknown_key` for keys
 *   that a schema does not declare
 */
export async function checkConfig(graph: Graph, config: GraphConfig): Promise<void> {
  const faults = await Promise.all(
    graph.services.map(async ({ name, options: { config: schema } }) => {
      if (schema === undefined) return [];
      const value = config.services[name]?.config ?? {};
      const unknown = unknownKeysOf(schema, value).map(({ keys, known }) => {
        const arg = argOf(name, keys);
        const hint = arg === undefined ? '' : `. The option of the service is ${arg}`;
        const message = `${pathOf(name, keys)}: unknown key; known are ${known.join(', ')}${hint}`;
        return new ConfigError('config.unknown_key', config.placeOf([name, ...keys], 'key'), message);
      });
      if (unknown.length > 0) return unknown;
      const { issues = [] } = await schema['~standard'].validate(value);
      return issues.map((issue) => {
        const keys = keysOf(issue);
        const place = config.placeOf([name, ...keys.map((key) => (typeof key === 'symbol' ? String(key) : key))]);
        return new ConfigError('config.refused', place, `${pathOf(name, keys)}: ${issue.message}`);
      });
    }),
  );
  const [first, ...others] = faults.flat();
  if (first === undefined) return;
  if (others.length === 0) throw first;
  throw new ConfigError(first.reason, undefined, [first, ...others].map(({ message }) => message).join('\n'));
}
