import { existsSync, readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { CliError, EXIT } from './command.js';

/**
 * Reads a JSON object from a file.
 *
 * @throws CliError `E_BAD_FILE` that names the file: 66 if there is none, 65 for another content
 */
export function readJsonObject(name: string, cwd: string): Record<string, unknown> {
  const path = resolve(cwd, name);
  const fail = (exitCode: number, message: string): never => {
    throw new CliError('E_BAD_FILE', `${path}: ${message}`, { exitCode, path });
  };
  if (!existsSync(path) || !statSync(path).isFile()) fail(EXIT.noInput, 'no such file');
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    fail(EXIT.data, `expected JSON (${(error as Error).message})`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) fail(EXIT.data, 'expected a JSON object');
  return value as Record<string, unknown>;
}
