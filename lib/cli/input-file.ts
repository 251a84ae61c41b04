import { existsSync, type Stats, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { CliError, EXIT } from './command.js';

/**
 * The absolute path of a file that a command reads, and what the file system says about it.
 *
 * @throws CliError `code` (66) if there is none, and for a folder or a device
 */
export function inputFile(name: string, cwd: string, code: string): { readonly path: string; readonly stats: Stats } {
  const path = resolve(cwd, name);
  const stats = existsSync(path) ? statSync(path) : undefined;
  if (stats?.isFile()) return { path, stats };
  const what = stats && `expected a file, got a ${stats.isDirectory() ? 'folder' : 'device'}`;
  throw new CliError(code, `${path}: ${what ?? 'no such file'}`, { exitCode: EXIT.noInput, path });
}
