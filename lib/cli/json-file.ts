import { readFileSync } from 'node:fs';
import { CliError, EXIT } from './command.js';
import { inputFile } from './input-file.js';

/**
 * Reads a JSON object from a file.
 *
 * @throws CliError `E_BAD_FILE` that names the file: 66 if there is none, 65 for another content
 */
export function readJsonObject(name: string, cwd: string): Record<string, unknown> {
  const { path } = inputFile(name, cwd, 'E_BAD_FILE');
  const fail = (message: string): never => {
    throw new CliError('E_BAD_FILE', `${path}: ${message}`, { exitCode: EXIT.data, path });
  };
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    fail(`expected JSON (${(error as Error).message})`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) fail('expected a JSON object');
  return value as Record<string, unknown>;
}
