import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

export const root = fileURLToPath(new URL('../..', import.meta.url));

export const execute = promisify(execFile);

/** The built addon: the output of `npm run build:native`, else of `npm run prebuild`. */
export function addonFile(): string {
  const candidates = ['build/Release/dynamo_node.node', 'prebuilds/linux-x64/dynamo-node.glibc.node'];
  const found = candidates.map((file) => join(root, file)).find((file) => existsSync(file));
  if (!found) throw new Error(`no built addon at ${candidates.join(' or ')}: run npm run build:native`);
  return found;
}
