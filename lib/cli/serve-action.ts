import { type ChildProcess, spawn } from 'node:child_process';
import { findContainment } from '../deploy/local/containment.js';
import { ownProcessId } from '../deploy/local/process-id.js';
import { programCommand } from '../deploy/local/program-command.js';
import { CliError, type CommandArgs, type CommandIo, EXIT, SIGNAL_EXIT } from './command.js';
import type { CliFailure } from './failure.js';
import { note, printJson, styled } from './output.js';
import type { ServeCommandOptions } from './serve.js';
import type { ServeRequest } from './serve-run.js';

/** What the process of the supervisor sends. */
export type FromSupervisor = { readonly exitCode: number } | { readonly failure: CliFailure };

/** The first signal drains, the second kills the workers. The third ends a supervisor that answers to neither. */
const LAST_SIGNAL = 3;

export async function run(args: CommandArgs<ServeCommandOptions>, io: CommandIo): Promise<number> {
  const { positionals, options, overrides, json } = args;
  const request: ServeRequest = {
    target: positionals[0] as string,
    options,
    overrides,
    json,
    cwd: io.cwd,
    isTerminal: io.isTerminal,
    columns: io.columns,
    pid: ownProcessId().pid,
  };
  if (options.dryRun === true) {
    const { specOf } = await import('./serve-run.js');
    const { spec, module } = await specOf(request, io);
    printJson(io, { file: module.file, spec });
    return EXIT.ok;
  }
  const containment = await findContainment();
  if (containment.lacks !== undefined) note(io, styled(io, 'yellow', `note: ${containment.lacks}`));
  if (containment.supervisor === undefined) {
    const { superviseGraph } = await import('./serve-run.js');
    return await superviseGraph({ ...request, prefix: containment.worker }, io);
  }
  return await new SupervisorProcess(containment.supervisor, { ...request, proc: containment.proc }, io).exitCode;
}

/**
 * The supervisor in its own process: the first one of a PID namespace, which ends with all that is in it when this
 * process ends, however it ends. It has its own session, so signals reach it only from here.
 */
class SupervisorProcess {
  readonly exitCode: Promise<number>;
  #result: FromSupervisor | undefined;

  constructor(prefix: readonly string[], request: ServeRequest, io: CommandIo) {
    const [program, ...words] = [...prefix, ...programCommand(import.meta.url, 'supervise'), JSON.stringify(request)];
    const isOwn = io.stdout === process.stdout;
    const child = spawn(program as string, words, {
      stdio: ['ignore', isOwn ? 'inherit' : 'pipe', isOwn ? 'inherit' : 'pipe', 'ipc'],
      detached: true,
      cwd: io.cwd,
      env: { ...io.env },
    });
    child.stdout?.pipe(io.stdout, { end: false });
    child.stderr?.pipe(io.stderr, { end: false });
    child.on('message', (message) => {
      this.#result = message as FromSupervisor;
    });
    let signals = 0;
    const forget = (Object.keys(SIGNAL_EXIT) as (keyof typeof SIGNAL_EXIT)[]).map((signal) =>
      io.onSignal(signal, () => {
        if (++signals >= LAST_SIGNAL) {
          this.#result ??= { exitCode: SIGNAL_EXIT[signal] };
          child.kill('SIGKILL');
        } else if (child.connected) child.send({ signal }, () => {});
      }),
    );
    this.exitCode = this.#end(child).finally(() => {
      for (const remove of forget) remove();
    });
  }

  async #end(child: ChildProcess): Promise<number> {
    const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
      child.on('error', reject).on('close', (...end) => resolve(end));
    });
    const result = this.#result;
    if (result === undefined)
      throw new CliError(
        'E_SUPERVISOR',
        `the supervisor was ended (${signal ?? `code ${code}`}), and all workers with it`,
      );
    if ('exitCode' in result) return result.exitCode;
    const { code: errorCode, message, ...rest } = result.failure;
    throw new CliError(errorCode, message, rest);
  }
}
