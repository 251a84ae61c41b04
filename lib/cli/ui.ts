import { integer, listOf, type OptionTable, oneOf, optionTable, text } from '../options.js';
import type { Command } from './command.js';

/** Which graph `dynamo ui` and `dynamo top` show, if no supervisor of this machine runs it. */
export interface WatchedGraphOptions {
  readonly namespace?: string;
  readonly discoveryBackend?: 'file' | 'etcd' | 'kubernetes';
  readonly frontend?: readonly string[];
  readonly statusServer?: readonly string[];
}

/** The options of `dynamo ui`. */
export interface UiCommandOptions extends WatchedGraphOptions {
  readonly port?: number;
  readonly host?: string;
}

export const WATCHED_ROWS = {
  namespace: text.about('Only this namespace of discovery, for a graph that this machine does not run.'),
  discoveryBackend: oneOf('file', 'etcd', 'kubernetes')
    .env('DYN_DISCOVERY_BACKEND')
    .about('Where its workers find one another, for such a graph.'),
  frontend: listOf(text, 'addresses').about('The address of a frontend; may be repeated.'),
  statusServer: listOf(text, 'addresses').about('The address of the status server of a worker; may be repeated.'),
};

const MAX_PORT = 65_535;

const OPTIONS: OptionTable<UiCommandOptions> = optionTable<UiCommandOptions>({
  port: integer(0, MAX_PORT).about('The port of the page. Default: any free one.'),
  host: text.about('The loopback address of the page. Default: 127.0.0.1.'),
  ...WATCHED_ROWS,
});

export const uiCommand: Command<UiCommandOptions> = {
  name: 'ui',
  summary: 'Show a running graph in the browser, live.',
  usage: '[graph]',
  description:
    'The graph is its name in `dynamo ps`. It may be left out if only one runs. With --namespace, --frontend or ' +
    '--discovery-backend it is one that other machines or Python programs run. The page is reached from this machine ' +
    'only.',
  options: OPTIONS,
  short: { port: 'p' },
  examples: [
    'ui',
    'ui llm --port 9000',
    'ui --discovery-backend etcd --namespace dynamo --frontend http://127.0.0.1:8000',
  ],
  load: () => import('./ui-action.js'),
};
