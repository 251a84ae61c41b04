import type { Readable, Writable } from 'node:stream';
import type { OptionTable } from '../options.js';

/** What a command reads, and where it writes. A test passes its own. */
export interface CommandIo {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The folder to which relative paths refer. */
  readonly cwd: string;
  /** Whether a person reads the standard output: colours, progress and live views. */
  readonly isTerminal: boolean;
  /** The width of the terminal in characters; 80 without one. */
  readonly columns: number;
  /**
   * Calls `handler` for each such signal instead of ending the process. Returns a function that removes the handler.
   */
  onSignal(signal: 'SIGINT' | 'SIGTERM', handler: () => void): () => void;
}

/** What the user typed, checked. */
export interface CommandArgs<Options> {
  /** The words that are no flags, in their order. */
  readonly positionals: readonly string[];
  readonly options: Options;
  /** Overrides of services as typed, such as `--Worker.block-size=64`. Empty unless the command takes them. */
  readonly overrides: readonly string[];
  /** The words after `--`. Empty unless the command takes them. */
  readonly rest: readonly string[];
  /** Whether the result is one JSON value, for programs. */
  readonly json: boolean;
}

/**
 * A command as data. Its file has no import that loads the addon or a large package, so that help is quick and works on
 * every platform. `load` imports the file with the code, by convention `NAME-action.ts`.
 *
 * Every command has `--help` and `--json`. A flag that is absent has the value of the first variable of its row that is
 * set.
 */
export interface Command<Options extends object = object> {
  /** One word, or two for a command of a group, such as `deployment create`. */
  readonly name: string;
  /** One sentence for the list of commands. */
  readonly summary: string;
  /** The words that are no flags: `<graph>` must be there, `[model]` may, `[names...]` are several. */
  readonly usage: string;
  readonly options: OptionTable<Options>;
  /** One-letter flags by the name of the option, such as `{ output: 'o' }`. */
  readonly short?: { readonly [Name in keyof Options]?: string };
  /** What a flag means that is typed without a value, such as `{ dryRun: 'client' }`. A value then needs a `=`. */
  readonly bare?: { readonly [Name in keyof Options]?: string };
  /** Whether `--Service.key=value` is accepted. */
  readonly takesOverrides?: boolean;
  /** Whether words after `--` are kept for another program. */
  readonly takesRest?: boolean;
  /** More for `--help`, after the summary. */
  readonly description?: string;
  /** Lines for `--help`, without the prompt. */
  readonly examples?: readonly string[];
  /** Not in the list of commands. */
  readonly hidden?: boolean;
  load(): Promise<CommandAction<Options>>;
}

/** The code of a command. */
export interface CommandAction<Options extends object = object> {
  /**
   * Runs the command. The result is the exit code; none is 0.
   *
   * @throws CliError, or another error with fields of `CliErrorOptions`
   */
  run(args: CommandArgs<Options>, io: CommandIo): Promise<number | void>;
}

/** Exit codes: those of sysexits.h, where one fits. */
export const EXIT = {
  ok: 0,
  /** It was tried and failed. */
  failure: 1,
  /** A deployment is not ready in time. */
  notReady: 2,
  /** Wrong flags or words. */
  usage: 64,
  /** A faulty graph, configuration or artifact. */
  data: 65,
  /** A file that is not there. */
  noInput: 66,
  /** An engine, a program or a cluster that is not there. */
  unavailable: 69,
  /** The output exists, or cannot be written. */
  cannotCreate: 73,
  /** Access denied. */
  noPermission: 77,
  interrupted: 130,
  terminated: 143,
} as const;

/** The signals that end a command, with their exit codes. */
export const SIGNAL_EXIT = { SIGINT: EXIT.interrupted, SIGTERM: EXIT.terminated } as const;

/** The fields of a `CliError` besides its code and message. */
export interface CliErrorOptions {
  /** @default 1 */
  readonly exitCode?: number;
  /** What to do. */
  readonly hint?: string;
  /** The file, with `:line:column` if they are known. */
  readonly path?: string;
  readonly cause?: unknown;
}

/** A failure as users see it: `error[CODE]: message`, then the hint. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: number;
  readonly hint: string | undefined;
  readonly path: string | undefined;

  constructor(
    /** Stable, such as `E_USAGE`. */
    readonly code: string,
    message: string,
    { exitCode = EXIT.failure, hint, path, cause }: CliErrorOptions = {},
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.exitCode = exitCode;
    this.hint = hint;
    this.path = path;
  }
}

/** Wrong flags or words: exit 64. */
export function usageError(message: string, hint?: string): CliError {
  return new CliError('E_USAGE', message, { exitCode: EXIT.usage, ...(hint === undefined ? {} : { hint }) });
}
