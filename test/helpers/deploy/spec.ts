import { GRAPH_SCHEMA, type GraphSpec } from 'dynamo-node/sdk';

/** The spec of a graph named `test`: each service with those that it depends on. */
export function specWith(dependencies: Readonly<Record<string, readonly string[]>>, entry: string): GraphSpec {
  const services = Object.entries(dependencies).map(([name, needed]) => ({
    name,
    namespace: 'dynamo',
    component: name.toLowerCase(),
    role: 'worker' as const,
    program: 'code' as const,
    endpoints: [],
    dependencies: needed.map((service) => ({ property: service, service, mode: 'round_robin' as const })),
    resources: { gpu: 0 },
    workers: 1,
    env: {},
    labels: {},
    config: {},
  }));
  return { schema: GRAPH_SCHEMA, name: 'test', entry, services };
}
