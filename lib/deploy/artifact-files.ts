import { lstat, readdir, readFile, realpath } from 'node:fs/promises';
import { basename, isAbsolute, join, relative, sep } from 'node:path';

import { DeployError } from './deploy-error.js';

/** What a file of an artifact contains: these bytes, or those of another file. */
export type ArtifactContent = Buffer | { readonly from: string };

/** The files of an artifact by their paths, with `/` between folders. */
export type ArtifactFiles = Map<string, ArtifactContent>;

/** Names of files and folders that are never packed: secrets, and what a machine adds. */
const NEVER_PACKED: readonly RegExp[] = [
  /^\.env(rc|\..*)?$/i,
  /\.env$/i,
  /^\.(npmrc|yarnrc(\.yml)?|netrc|pypirc|pgpass|git-credentials|htpasswd|vault-token)$/i,
  /^\.(aws|azure|docker|gcloud|gnupg|kube|ssh)$/i,
  /\.(key|pem|p12|pfx|jks|keystore)$/i,
  /^id_(rsa|dsa|ecdsa|ed25519)/i,
  /^(.*[-_.])?(credentials|secrets?|service[-_]?account.*)\.(json|ya?ml|toml|ini)$/i,
  /^kubeconfig$/i,
  /\.(tfstate|tfvars)(\.backup)?$/i,
  /^(node_modules|\.git|\.hg|\.svn|\.DS_Store|__pycache__)$/,
];

/** Whether a part of a relative path is the name of a secret, of `node_modules`, `.git` and so on. */
export function isNeverPacked(path: string): boolean {
  return path.split(/[\\/]/).some((name) => NEVER_PACKED.some((pattern) => pattern.test(name)));
}

const refused = (path: string, message: string): DeployError =>
  new DeployError('E_NOT_PACKABLE', message, { exitCode: 65, path });

/** The error for a folder that would be replaced: exit code 73. */
export function folderExists(folder: string): DeployError {
  const message = `Output directory ${folder} already exists. Use --force to overwrite.`;
  return new DeployError('E_ARTIFACT_EXISTS', message, { exitCode: 73, path: folder });
}

/** What a former output has: a file with a word in it. */
export interface OutputMark {
  /** Of the output, in words, such as `an artifact`. */
  readonly kind: string;
  readonly file: string;
  readonly word: string;
}

/**
 * Checks that an output may be written: its path is free, or `force` replaces a former output or an empty folder. The
 * content of any other folder is not this program's to delete.
 *
 * @throws DeployError `E_ARTIFACT_EXISTS` or `E_NOT_REPLACED` (73)
 */
export async function checkOutput(folder: string, mark: OutputMark, force: boolean): Promise<void> {
  const entries = await readdir(folder).catch(({ code }: NodeJS.ErrnoException) => code);
  if (entries === 'ENOENT') return;
  const isEmpty = Array.isArray(entries) && entries.length === 0;
  const isFormer = (await readFile(join(folder, mark.file), 'utf8').catch(() => '')).includes(mark.word);
  if (!isFormer && !isEmpty)
    throw new DeployError('E_NOT_REPLACED', `${folder} exists and is not ${mark.kind}, so it is not replaced`, {
      exitCode: 73,
      path: folder,
      hint: 'Choose a path that does not exist.',
    });
  if (!force) throw folderExists(folder);
}

/** Whether a rename failed because another process was faster and made the folder. */
export const isTaken = (error: unknown): boolean =>
  ['ENOTEMPTY', 'EEXIST'].includes((error as NodeJS.ErrnoException).code ?? '');

/** A path below a folder, with `/` between folders. */
export const portable = (folder: string, file: string): string => relative(folder, file).split(sep).join('/');

/** Whether a path is that of a folder, or lies below it. */
export function isInside(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}

/**
 * Checks that a file may be packed.
 *
 * @param root the folder of the project, without symbolic links in its path
 * @throws DeployError `E_NOT_PACKABLE` (65) for a secret, and for a file outside the project, also through a link
 */
export async function checkPackable(root: string, file: string): Promise<void> {
  if (!isInside(root, file))
    throw refused(file, `${file} is outside the project ${root}: only files below its package.json are packed`);
  const path = portable(root, file);
  if (isNeverPacked(path)) throw refused(file, `${path} is never packed, because it may contain a secret`);
  const real = await realpath(file);
  if (!isInside(root, real))
    throw refused(file, `${path} is a symbolic link to ${real}, which is outside the project ${root}`);
  if (isNeverPacked(portable(root, real))) throw refused(file, `${path} is a symbolic link to ${portable(root, real)}`);
}

/** Files below a folder that are packed, and those that are left out. */
export interface Collected {
  readonly files: readonly string[];
  readonly skipped: readonly string[];
}

/**
 * The files at or below a path of the project, sorted.
 *
 * @throws DeployError `E_NOT_PACKABLE` (65) for a link out of the project, and for what is neither file nor folder
 */
export async function collectFiles(root: string, path: string): Promise<Collected> {
  await checkPackable(root, path);
  const files: string[] = [];
  const skipped: string[] = [];
  const open = new Set<string>();
  const visit = async (path: string): Promise<void> => {
    const link = (await lstat(path)).isSymbolicLink();
    const real = link ? await realpath(path) : path;
    if (link) await checkPackable(root, path);
    const stats = await lstat(real);
    if (stats.isFile()) return void files.push(path);
    if (!stats.isDirectory()) throw refused(path, `${path}: expected a file or a folder`);
    if (open.has(real)) throw refused(path, `${path} is a symbolic link to a folder that contains it`);
    open.add(real);
    for (const name of (await readdir(path)).sort()) {
      if (isNeverPacked(name)) skipped.push(join(path, name));
      else await visit(join(path, name));
    }
    open.delete(real);
  };
  await visit(path);
  return { files, skipped };
}

/** The extensions of files that are transpiled. A declaration file is not one of them. */
export const isTypeScript = (path: string): boolean => /\.[mc]?tsx?$/.test(path) && !/\.d\.[mc]?ts$/.test(path);

/** The extensions of files that Node.js runs. */
export const isJavaScript = (path: string): boolean => /\.[mc]?jsx?$/.test(basename(path));
