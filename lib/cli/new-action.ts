import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { basename, join, relative, resolve } from 'node:path';
import { artifactName } from '../deploy/artifact-manifest.js';
import { CliError, type CommandArgs, type CommandIo, EXIT, usageError } from './command.js';
import type { NewOptions } from './new.js';
import { dependencyOf } from './new-dependency.js';
import { projectFiles } from './new-files.js';
import { print, printJson } from './output.js';
import { packageFolder } from './version.js';

/** The rule of npm for names, without scopes. */
const NAME = /^[a-z0-9][a-z0-9._-]{0,213}$/;

/** Entries that an empty folder may have. */
const HARMLESS = ['.git'];

/** Writes a project. */
export async function run({ positionals, options, json }: CommandArgs<NewOptions>, io: CommandIo): Promise<void> {
  const folder = resolve(io.cwd, positionals[0] as string);
  const name = basename(folder);
  if (!NAME.test(name))
    throw usageError(`expected a name of a-z, 0-9, ., - and _, which begins with a letter or digit, got '${name}'`);
  checkEmpty(folder);
  const { dependency = dependencyOf(packageFolder(), folder) } = options;
  const files = projectFiles({ name, graphName: artifactName(name), dependency });
  mkdirSync(folder, { recursive: true });
  for (const [path, content] of Object.entries(files)) writeFileSync(join(folder, path), content, { flag: 'wx' });
  if (json) return printJson(io, { folder, files: Object.keys(files) });
  const place = relative(io.cwd, folder);
  print(io, `Wrote ${Object.keys(files).length} files to ${folder}. Next:`);
  print(io);
  if (place !== '') print(io, `  cd ${place}`);
  for (const line of ['npm install', 'npm test', 'npm start']) print(io, `  ${line}`);
}

function checkEmpty(folder: string): void {
  if (!existsSync(folder)) return;
  const isFolder = statSync(folder).isDirectory();
  const entries = isFolder ? readdirSync(folder).filter((entry) => !HARMLESS.includes(entry)) : [];
  if (isFolder && entries.length === 0) return;
  const what = isFolder ? `the folder is not empty: it has ${entries.slice(0, 3).join(', ')}` : 'it is a file';
  throw new CliError('E_EXISTS', `${folder}: ${what}`, {
    exitCode: EXIT.cannotCreate,
    path: folder,
    hint: 'choose another name',
  });
}
