import { type RunState, runningGraphs, runsFolder } from '../deploy/local/run-folder.js';
import type { CommandArgs, CommandIo } from './command.js';
import { note, print, printJson, styled, tableLines } from './output.js';
import { stateOf } from './running-graph.js';

const HEADER = ['WORKER', 'STATE', 'PID', 'RESTARTS', 'GPU', 'URL'];

/** Lists the graphs that run here with their workers. */
export async function run({ json }: CommandArgs<object>, io: CommandIo): Promise<void> {
  const running = runningGraphs(runsFolder(io.env));
  const states = await Promise.all(running.map(stateOf));
  if (json) return printJson(io, states);
  if (states.length === 0) return note(io, 'no graph runs on this machine');
  states.forEach((state, index) => {
    if (index > 0) print(io);
    for (const line of linesOf(io, state)) print(io, line);
  });
}

function linesOf(io: CommandIo, { graph, phase, pid, file, services }: RunState): string[] {
  const rows = services.flatMap(({ name, workers }) =>
    workers.map((worker) => [
      `${name}#${worker.number}`,
      worker.phase,
      worker.pid === undefined ? '-' : String(worker.pid),
      String(worker.restarts),
      worker.gpus?.join(',') ?? '-',
      worker.url ?? '-',
    ]),
  );
  return [`${styled(io, 'bold', graph)}  ${phase}  process ${pid}  ${file}`, ...tableLines(io, rows, HEADER)];
}
