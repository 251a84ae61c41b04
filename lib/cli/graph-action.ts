import { loadGraph } from '../deploy/load-graph.js';
import type { ServiceSpec } from '../sdk/graph-spec.js';
import type { CommandArgs, CommandIo } from './command.js';
import type { GraphCommandOptions } from './graph.js';
import { print, printJson, styled, tableLines } from './output.js';

const HEADER = ['SERVICE', 'ROLE', 'PROGRAM', 'WORKERS', 'GPU', 'DEPENDS ON'];

const rowOf = ({ name, role, program, workers, resources, dependencies }: ServiceSpec): string[] => [
  name,
  role,
  program,
  String(workers),
  String(resources.gpu),
  dependencies.map(({ service }) => service).join(', '),
];

/** Shows a graph: as a table, as a diagram, or as its `GraphSpec`. */
export async function run(
  { positionals, options, json }: CommandArgs<GraphCommandOptions>,
  io: CommandIo,
): Promise<void> {
  const { graph } = await loadGraph(positionals[0] as string, io.cwd);
  if (options.mermaid === true) {
    const mermaid = graph.toMermaid();
    if (json) printJson(io, { mermaid });
    else io.stdout.write(mermaid);
    return;
  }
  const spec = graph.toJSON();
  if (json) return printJson(io, spec);
  print(io, `${styled(io, 'bold', spec.name)}, entry ${spec.entry}, namespace ${namespacesOf(spec.services)}`);
  print(io);
  for (const line of tableLines(io, [...spec.services].reverse().map(rowOf), HEADER)) print(io, line);
}

function namespacesOf(services: readonly ServiceSpec[]): string {
  return [...new Set(services.map(({ namespace }) => namespace))].join(', ');
}
