import { Dashboard } from '../dashboard/dashboard.js';
import { CliError, type CommandArgs, type CommandIo, EXIT, usageError } from './command.js';
import { note, print, printJson, styled } from './output.js';
import type { UiCommandOptions } from './ui.js';
import { watchedGraph } from './watched-graph.js';

const END_INTERVAL_MS = 500;

/** What went wrong, as users see it. */
function failureOf(error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (error instanceof RangeError) return usageError(message.replace('Dashboard.start options.', '--'));
  if (code !== 'EADDRINUSE' && code !== 'EACCES' && code !== 'EADDRNOTAVAIL') return error;
  return new CliError('E_LISTEN', `the page cannot be served: ${message}`, {
    exitCode: EXIT.cannotCreate,
    hint: 'Choose another port with --port.',
    cause: error,
  });
}

/** Serves the page until a signal, or until the graph of this machine has ended. */
export async function run(
  { positionals, options, json }: CommandArgs<UiCommandOptions>,
  io: CommandIo,
): Promise<number> {
  const { port, host } = options;
  const watched = watchedGraph(positionals[0], options, io);
  const dashboard = await Dashboard.start({
    ...watched,
    ...(port === undefined ? {} : { port }),
    ...(host === undefined ? {} : { host }),
  }).catch((error: unknown) => {
    throw failureOf(error);
  });
  if (json) printJson(io, { url: dashboard.url });
  else {
    print(io, `${styled(io, 'bold', '[dynamo]')} live view at ${dashboard.url}`);
    note(io, 'The address has a token for actions and logs. Do not share it. Ctrl-C ends the view; the graph goes on.');
  }
  const ended = new AbortController();
  let exitCode: number = EXIT.ok;
  const onSignal = (code: number) => (): void => {
    exitCode = code;
    ended.abort();
  };
  const forget = [io.onSignal('SIGINT', onSignal(EXIT.ok)), io.onSignal('SIGTERM', onSignal(EXIT.terminated))];
  const timer = setInterval(() => {
    if (dashboard.snapshot().graph.phase === 'gone') ended.abort();
  }, END_INTERVAL_MS);
  if (!ended.signal.aborted) await new Promise((resolve) => ended.signal.addEventListener('abort', resolve));
  clearInterval(timer);
  for (const remove of forget) remove();
  await dashboard.close();
  return exitCode;
}
