import { accessSync, constants, lstatSync, mkdirSync, readdirSync, type Stats } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

import { checkString } from '../check.js';
import { badArgument, shown } from '../errors.js';

const NAME = 'dynamo_store_kv';

const uid = (): number => process.getuid?.() ?? 0;

/** The folder if none is set: that of the user's session, else one per user in the folder of temporary files. */
export function defaultDiscoveryFolder(): string {
  const session = process.env['XDG_RUNTIME_DIR'];
  const stats = session === undefined || session === '' ? undefined : lstatSync(session, { throwIfNoEntry: false });
  if (stats?.isDirectory() === true && stats.uid === uid()) return join(session as string, NAME);
  return join(tmpdir(), `${NAME}-${uid()}`);
}

/**
 * Creates the folder, only for this user, or checks it. Every process that can write to it can register and remove
 * workers. Files of a linked folder would be removed as expired registrations. Without this check a read-only folder
 * fails when the first endpoint is served, without a reason.
 */
export function checkDiscoveryFolder(path: string, value: unknown): void {
  checkString(path, value);
  const refuse = (what: string, cause?: unknown): never => {
    throw badArgument(
      new TypeError(`${path}: expected a folder to write to, got ${shown(value)} (${what})`, { cause }),
    );
  };
  // Without a slash at its end, which would follow a link.
  const folder = resolve(value);
  let stats: Stats;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    stats = lstatSync(folder);
    accessSync(folder, constants.W_OK);
  } catch (cause) {
    return refuse((cause as Error).message, cause);
  }
  if (stats.isSymbolicLink()) refuse('it is a symbolic link');
  if (stats.uid !== uid() && stats.uid !== 0) refuse(`it belongs to another user, ${stats.uid}`);
  if ((stats.mode & 0o002) !== 0) refuse('every user can write to it; chmod 700');
  const version = join(folder, 'v1');
  const below = [version, ...namesIn(version).map((name) => join(version, name))];
  const link = below.find((each) => lstatSync(each, { throwIfNoEntry: false })?.isSymbolicLink() === true);
  if (link !== undefined) refuse(`${link} is a symbolic link`);
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
