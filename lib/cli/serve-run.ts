import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { GraphModule } from '../deploy/load-graph.js';
import { LocalGraph } from '../deploy/local/local-graph.js';
import { descriptorOutput } from '../deploy/local/log-output.js';
import type { GraphSpec } from '../sdk/graph-spec.js';
import { CliError, type CommandIo, EXIT } from './command.js';
import { configuredGraph } from './graph-source.js';
import { LiveView } from './live-view.js';
import { printJson, type Style, styled } from './output.js';
import type { ServeCommandOptions } from './serve.js';
import { StatusLine, sampleOf, statusText } from './status-line.js';

/** What `dynamo serve` was asked for, as JSON for the process of the supervisor. */
export interface ServeRequest {
  readonly target: string;
  readonly options: ServeCommandOptions;
  readonly overrides: readonly string[];
  readonly json: boolean;
  readonly cwd: string;
  readonly isTerminal: boolean;
  readonly columns: number;
  /** The process that the user started. */
  readonly pid: number;
  /** The words before the command of each worker. */
  readonly prefix?: readonly string[];
  /** Further words before it, which only workers have. The supervisor and the view know processes of the machine. */
  readonly proc?: readonly string[];
}

/** The graph with its configuration: the values of the code, the file and the command line. */
export async function specOf(
  { target, options, overrides }: ServeRequest,
  io: CommandIo,
): Promise<{ readonly module: GraphModule; readonly spec: GraphSpec }> {
  const { loaded: module, spec } = await configuredGraph(target, options.file, overrides, io);
  const { serviceName } = options;
  if (serviceName === undefined) return { module, spec };
  const services = spec.services.filter(({ name }) => name === serviceName);
  if (services.length === 1) return { module, spec: { ...spec, services } };
  const known = spec.services.map(({ name }) => name).join(', ');
  throw new CliError(
    'E_UNKNOWN_SERVICE',
    `graph ${spec.name} has no service '${serviceName}'; its services are ${known}`,
    { exitCode: EXIT.data },
  );
}

const COLOURS: readonly Style[] = ['cyan', 'magenta', 'green', 'blue', 'yellow'];
const MS_PER_SECOND = 1000;
/** How long a reader that has stopped may take for the last lines. */
const LAST_LINES_MS = 1000;

const milliseconds = (seconds: number | undefined): number | undefined =>
  seconds === undefined ? undefined : Math.round(seconds * MS_PER_SECOND);

/** Shows the state of a graph once a second. */
function showStatus(local: LocalGraph, line: StatusLine): NodeJS.Timeout {
  let before = sampleOf(local.state, performance.now());
  return setInterval(() => {
    const { state } = local;
    const now = sampleOf(state, performance.now());
    line.show(statusText(state, before, now));
    before = now;
    local.measure();
  }, MS_PER_SECOND);
}

const viewOf = (
  graph: string,
  port: number,
  { prefix = [] }: ServeRequest,
  { cwd, env }: CommandIo,
  note: (message: string) => void,
): LiveView => new LiveView({ graph, port, cwd, env: { ...env }, prefix, note });

/** Runs a graph in this process until a signal or a fault ends it. Returns the exit code. */
export async function superviseGraph(request: ServeRequest, io: CommandIo): Promise<number> {
  const { options, json } = request;
  const { spec, module } = await specOf(request, io);
  const names = spec.services.map(({ name }) => name);
  // The result of `--json` is alone on the standard output.
  const own = json ? io.stderr : io.stdout;
  const terminal = own === process.stdout || own === process.stderr ? descriptorOutput(json ? 2 : 1) : own;
  const line = io.isTerminal && !json ? new StatusLine(terminal, () => io.columns) : undefined;
  const out = line === undefined ? terminal : line.output();
  const { serviceName, name = serviceName === undefined ? spec.name : `${spec.name}.${serviceName}` } = options;
  const note = (message: string): void => void out.write(`${styled(io, 'bold', '[dynamo]')} ${message}\n`);
  const local = await LocalGraph.create({
    ...options,
    module,
    spec,
    name,
    env: { ...io.env },
    pid: request.pid,
    prefix: [...(request.prefix ?? []), ...(request.proc ?? [])],
    httpHost: options.host,
    httpPort: options.port,
    logDir: options.logDir === undefined ? undefined : resolve(request.cwd, options.logDir),
    graceMs: milliseconds(options.grace),
    startTimeoutMs: milliseconds(options.startTimeoutSeconds),
    ...(options.respawn === undefined ? {} : { restarts: { respawn: options.respawn } }),
    out,
    prefixOf: ({ service, number }) => {
      const colour = COLOURS[names.indexOf(service) % COLOURS.length] as Style;
      return `${styled(io, colour, `[${service}#${number}]`)} `;
    },
    note,
  });
  const status = line === undefined ? undefined : showStatus(local, line);
  let signals = 0;
  let exitCode: number = EXIT.ok;
  const onSignal = (code: number) => (): void => {
    if (++signals === 1) return void local.drain();
    exitCode = code;
    local.kill();
  };
  const forget = [io.onSignal('SIGINT', onSignal(EXIT.interrupted)), io.onSignal('SIGTERM', onSignal(EXIT.terminated))];
  let failure: unknown;
  let view: LiveView | undefined;
  try {
    const started = local.start();
    if (options.ui !== undefined) view = viewOf(name, options.ui, request, io, note);
    await started;
    if (options.watch === true && local.state.phase === 'ready') await local.watch();
    const { state } = local;
    if (json) printJson(io, state);
    else if (state.phase === 'ready') {
      const place = state.urls.length === 0 ? '' : ` at ${state.urls.join(', ')}`;
      out.write(`${styled(io, 'bold', '[dynamo]')} graph ${state.graph} is ready${place}\n`);
    }
    await local.ended;
  } catch (error) {
    failure = error;
    await local.drain();
  }
  clearInterval(status);
  line?.show('');
  await view?.close();
  await local.close();
  for (const remove of forget) remove();
  await Promise.race([new Promise((done) => out.write('', done)), sleep(LAST_LINES_MS)]);
  if (failure !== undefined && signals === 0) throw failure;
  return exitCode;
}
