#!/usr/bin/env node
import { EXIT } from './command.js';
import { cliFailureOf } from './failure.js';
import { processIo } from './process-io.js';
import type { FromSupervisor } from './serve-action.js';
import { type ServeRequest, superviseGraph } from './serve-run.js';

// The supervisor of `dynamo serve`, in its own process: node supervise.js REQUEST.

const request = JSON.parse(process.argv[2] ?? '') as ServeRequest;
const handlers = new Map<string, () => void>();

process.on('message', ({ signal }: { signal: string }) => handlers.get(signal)?.());
// The process that the user started is gone, and this one is not in its namespace.
process.on('disconnect', () => handlers.get('SIGTERM')?.());

const io = {
  ...processIo(),
  cwd: request.cwd,
  isTerminal: request.isTerminal,
  get columns() {
    return process.stdout.isTTY === true ? process.stdout.getWindowSize()[0] : request.columns;
  },
  onSignal(signal: string, handler: () => void) {
    handlers.set(signal, handler);
    return () => void handlers.delete(signal);
  },
};

const result: FromSupervisor = await superviseGraph(request, io).then(
  (exitCode) => ({ exitCode }),
  (error: unknown) => ({ failure: cliFailureOf(error) }),
);
process.send?.(result, () => process.exit(EXIT.ok));
