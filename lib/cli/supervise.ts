#!/usr/bin/env node
import { EXIT, SIGNAL_EXIT } from './command.js';
import { cliFailureOf } from './failure.js';
import { processIo } from './process-io.js';
import type { FromSupervisor } from './serve-action.js';
import { type ServeRequest, superviseGraph } from './serve-run.js';

// The supervisor of `dynamo serve`, in its own process: node supervise.js REQUEST.

const request = JSON.parse(process.argv[2] ?? '') as ServeRequest;
type Signal = keyof typeof SIGNAL_EXIT;
const handlers = new Map<Signal, () => void>();

/** `loadGraph` replaces `process.exit` while the module of the graph is loaded. */
const exit: (code: number) => never = process.exit.bind(process);

function end(result: FromSupervisor): void {
  if (process.connected) process.send?.(result, () => exit(EXIT.ok));
  else exit(EXIT.ok);
}

/** A module of the graph may take any time to load. Nothing has been started then. */
function onSignal(signal: Signal): void {
  const handler = handlers.get(signal);
  if (handler === undefined) end({ exitCode: SIGNAL_EXIT[signal] });
  else handler();
}

process.on('message', ({ signal }: { signal: Signal }) => onSignal(signal));
// The process that the user started is gone, and this one is not in its namespace.
process.on('disconnect', () => onSignal('SIGTERM'));
// It may be gone already: nothing hears a disconnection while the modules of this process are loaded.
if (!process.connected) onSignal('SIGTERM');

const io = {
  ...processIo(),
  cwd: request.cwd,
  isTerminal: request.isTerminal,
  get columns() {
    return process.stdout.isTTY === true ? process.stdout.getWindowSize()[0] : request.columns;
  },
  onSignal(signal: Signal, handler: () => void) {
    handlers.set(signal, handler);
    return () => void handlers.delete(signal);
  },
};

const result: FromSupervisor = await superviseGraph(request, io).then(
  (exitCode) => ({ exitCode }),
  (error: unknown) => ({ failure: cliFailureOf(error) }),
);
end(result);
