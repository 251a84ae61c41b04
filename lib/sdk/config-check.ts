import type { GraphConfig } from './config.js';
import { ConfigError } from './config-source.js';
import type { Graph } from './graph.js';
import { keysOf, pathOf, unknownKeysOf } from './schema.js';

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
      const unknown = unknownKeysOf(schema, value).map(
        ({ keys, known }) =>
          new ConfigError(
            'config.unknown_key',
            config.placeOf([name, ...keys], 'key'),
            `${pathOf(name, keys)}: unknown key; known are ${known.join(', ')}`,
          ),
      );
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
