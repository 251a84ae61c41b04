import { pathToFileURL } from 'node:url';
import type { GraphSpec } from '../../sdk/graph-spec.js';
import { loadGraph, serviceIn } from '../load-graph.js';

// Loads a graph in its own process, which has no earlier version of the modules: node describe.js REQUEST.

/** What the process is asked for. */
export interface DescribeRequest {
  /** As for `loadGraph`. */
  readonly target: string;
  /** The modules of the graph. */
  readonly modules: readonly string[];
}

/** What it sends. */
export type Described =
  | {
      readonly spec: GraphSpec;
      /** The modules that export each service, by its name. */
      readonly exporters: Readonly<Record<string, readonly string[]>>;
    }
  | { readonly message: string };

async function describe({ target, modules }: DescribeRequest): Promise<Described> {
  const { graph } = await loadGraph(target, process.cwd());
  const services = new Set(graph.services);
  const exporters: Record<string, string[]> = {};
  for (const file of modules) {
    const exports = (await import(pathToFileURL(file).href)) as Record<string, unknown>;
    for (const value of Object.values(exports)) {
      const service = serviceIn(value);
      if (service === undefined || !services.has(service)) continue;
      exporters[service.name] = [...(exporters[service.name] ?? []), file];
    }
  }
  return { spec: graph.toJSON(), exporters };
}

const request = JSON.parse(process.argv[2] ?? '') as DescribeRequest;
const described = await describe(request).catch((error: unknown) => ({
  message: error instanceof Error ? error.message : String(error),
}));
process.send?.(described, () => process.exit(0));
