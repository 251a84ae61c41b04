import { wrongType } from '../check.js';
import { boolean, custom, integer, number, type OptionTable, oneOf, optionTable, text } from '../options.js';
import type { Command } from './command.js';

/** The options of `dynamo serve`. */
export interface ServeCommandOptions {
  readonly file?: string;
  readonly port?: number;
  readonly host?: string;
  readonly dryRun?: boolean;
  readonly serviceName?: string;
  readonly name?: string;
  readonly logDir?: string;
  readonly grace?: number;
  readonly startTimeoutSeconds?: number;
  readonly respawn?: 'never' | 'on-failure';
  readonly discoveryBackend?: 'file' | 'etcd' | 'kubernetes';
  readonly requestPlane?: 'tcp' | 'nats';
  readonly eventPlane?: 'zmq' | 'nats';
  readonly allowGpuOversubscribe?: boolean;
  readonly watch?: boolean;
  readonly ui?: number;
}

const MAX_SECONDS = 86_400;
const MAX_PORT = 65_535;

/** The name is that of a folder, beside the folders of other runs. */
const RUN_NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/;
const EXPECTED_NAME = "letters, digits, '.', '_' and '-', with no '.' first";

const runName = custom<string>(
  EXPECTED_NAME,
  (path, name) => {
    if (typeof name !== 'string' || !RUN_NAME.test(name)) wrongType(path, EXPECTED_NAME, name);
  },
  'text',
);

const seconds = (min: number) => number(min, MAX_SECONDS);

const OPTIONS: OptionTable<ServeCommandOptions> = optionTable<ServeCommandOptions>({
  file: text.about('The configuration: a YAML file with a section for each service.'),
  port: integer(0, MAX_PORT).env('DYNAMO_PORT').about('The port of the HTTP server of the entry; 0 for any free one.'),
  host: text.env('DYNAMO_HOST').about('The address on which HTTP servers listen.'),
  dryRun: boolean.about('Write the graph with its configuration as JSON, and start nothing.'),
  serviceName: text.about('Serve only this service. Other machines serve the others; discovery must be shared.'),
  name: runName.about('The name of this run for ps, scale, logs and stop. Default: the name of the graph.'),
  logDir: text.about('The folder of the log files.'),
  grace: seconds(0).about('Seconds for which a worker may complete its requests before it is killed. Default: 30.'),
  startTimeoutSeconds: seconds(1).about('Within this time a worker must be ready. Default: 600.'),
  respawn: oneOf('never', 'on-failure').about('Whether a worker that crashed starts again. Default: on-failure.'),
  discoveryBackend: oneOf('file', 'etcd', 'kubernetes')
    .env('DYN_DISCOVERY_BACKEND')
    .about('Where workers find one another. Default: a folder of this run.'),
  requestPlane: oneOf('tcp', 'nats').env('DYN_REQUEST_PLANE').about('The transport of requests.'),
  eventPlane: oneOf('zmq', 'nats').env('DYN_EVENT_PLANE').about('The transport of events.'),
  allowGpuOversubscribe: boolean.about('Share GPUs if there are too few, with a warning.'),
  watch: boolean.about('Replace the workers of a service when its code changes.'),
  ui: integer(0, MAX_PORT).about('Show the graph in the browser, live: --ui, or --ui=PORT.'),
});

export const serveCommand: Command<ServeCommandOptions> = {
  name: 'serve',
  summary: 'Run a graph on this machine, one process a worker.',
  usage: '<graph>',
  description:
    'Restarts workers that crash, and drains them in order on Ctrl-C or SIGTERM. A second Ctrl-C kills them at once.',
  options: OPTIONS,
  short: { file: 'f', port: 'p' },
  bare: { ui: '0' },
  takesOverrides: true,
  examples: [
    'serve graph.ts',
    'serve graph.ts -f config.yaml --port 8080',
    'serve graph.ts --watch --ui',
    'serve graph.ts --Worker.ServiceArgs.workers=4 --Worker.block-size=64',
    'serve graph.ts --service-name Worker --discovery-backend etcd',
  ],
  load: () => import('./serve-action.js'),
};
