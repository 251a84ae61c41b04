import { DynamoError, type ErrorClass } from '../errors.js';
import { CliError, EXIT } from './command.js';

/** An error in the form that users and programs get. */
export interface CliFailure {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  readonly path?: string;
  readonly exitCode: number;
}

const exitCodes: Partial<Record<ErrorClass, number>> = {
  InvalidRequest: EXIT.data,
  NotFound: EXIT.noInput,
  PermissionDenied: EXIT.noPermission,
  Unauthenticated: EXIT.noPermission,
  Unavailable: EXIT.unavailable,
  DeadlineExceeded: EXIT.unavailable,
};

/** Errors of the file system, by their code. */
const fileCodes: Readonly<Record<string, number>> = {
  ENOENT: EXIT.noInput,
  EISDIR: EXIT.noInput,
  ENOTDIR: EXIT.noInput,
  EACCES: EXIT.noPermission,
  EPERM: EXIT.noPermission,
  EEXIST: EXIT.cannotCreate,
  ENOSPC: EXIT.cannotCreate,
  EROFS: EXIT.cannotCreate,
};

const textOf = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined);

/** Describes any thrown value. Other rooms may throw errors that have `exitCode`, `hint` and `path` themselves. */
export function cliFailureOf(error: unknown): CliFailure {
  if (!(error instanceof Error)) return { code: 'E_FAILED', message: String(error), exitCode: EXIT.failure };
  const { code, reason, hint, path, exitCode } = error as Partial<Record<keyof CliError | 'reason', unknown>>;
  const known: { hint?: string; path?: string } = {};
  if (textOf(hint) !== undefined) known.hint = textOf(hint) as string;
  if (textOf(path) !== undefined) known.path = textOf(path) as string;
  if (error instanceof CliError || (typeof exitCode === 'number' && textOf(code) !== undefined))
    return { code: code as string, message: error.message, ...known, exitCode: exitCode as number };
  if (code === 'DYN_BAD_GRAPH')
    return { code: graphCode(String(reason)), message: error.message, ...known, exitCode: EXIT.data };
  if (code === 'DYN_BAD_CONFIG')
    return {
      code: 'E_BAD_CONFIG',
      message: error.message,
      ...known,
      exitCode: reason === 'config.unreadable' ? EXIT.noInput : EXIT.data,
    };
  if (code === 'DYN_NO_ADDON')
    return {
      code: 'E_NO_ADDON',
      message: error.message,
      hint: '`dynamo doctor` says what this machine lacks',
      exitCode: EXIT.unavailable,
    };
  if (DynamoError.is(error))
    return {
      code: error.code,
      message: error.message,
      ...known,
      exitCode: exitCodes[error.class] ?? EXIT.failure,
    };
  if (typeof code === 'string' && Object.hasOwn(fileCodes, code))
    return { code: `E_${code}`, message: error.message, ...known, exitCode: fileCodes[code] as number };
  return {
    code: 'E_FAILED',
    message: error.message || error.name,
    ...known,
    exitCode: EXIT.failure,
  };
}

/** `graph.link_no_match` is `E_LINK_NO_MATCH`. */
function graphCode(reason: string): string {
  if (reason === 'graph.namespaces') return 'E_NAMESPACE_MIXED';
  return `E_${reason.replace(/^graph\./, '').toUpperCase()}`;
}
