import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, posix, resolve } from 'node:path';

import { checkArray, checkString } from '../check.js';
import type { GraphSpec } from '../sdk/graph-spec.js';
import {
  type ArtifactContent,
  type ArtifactFiles,
  checkOutput,
  checkPackable,
  collectFiles,
  folderExists,
  isNeverPacked,
  isTaken,
  portable,
} from './artifact-files.js';
import { DOCKERFILE, dockerfileOf, NODE_MAJOR } from './artifact-image.js';
import { lockfileOf } from './artifact-lockfile.js';
import {
  ARTIFACT_SCHEMA,
  type ArtifactManifest,
  artifactName,
  formatManifest,
  isArtifactName,
  MANIFEST_FILE,
  type ManifestFile,
} from './artifact-manifest.js';
import { packModules, projectOf } from './artifact-modules.js';
import { hashOf } from './artifact-read.js';
import { badDeployment, DeployError } from './deploy-error.js';
import { manifestOf } from './kubernetes/manifest.js';
import { toYaml } from './yaml.js';

/** What an artifact is made of. */
export interface ArtifactInput {
  /** The graph with its configuration. */
  readonly graph: GraphSpec;
  /** The absolute path of the module of the graph. */
  readonly file: string;
  readonly exportName?: string | undefined;
  /** Configuration files, which are packed into `configs`. */
  readonly configs?: readonly string[];
  /** @default the name of the graph as a DNS label */
  readonly name?: string | undefined;
  /** @default the first 8 digits of the digest */
  readonly version?: string | undefined;
  /** Images by the name of a service, for the deployment. */
  readonly images?: Readonly<Record<string, string>>;
  /** The version of Dynamo. */
  readonly runtimeVersion: string;
}

/** An artifact that is ready to be written. */
export interface PlannedArtifact {
  readonly manifest: ArtifactManifest;
  readonly files: ArtifactFiles;
  /** What was left out of packed folders, as absolute paths. */
  readonly skipped: readonly string[];
  /** Dependencies that are folders or files of this machine, as `name@path`: no image can install them. */
  readonly localPackages: readonly string[];
}

/** The deployment in an artifact. */
export const DEPLOYMENT_FILE = 'deploy/dgd.yaml';

interface Package {
  readonly name?: string;
  readonly type?: string;
  readonly dynamo?: { readonly files?: unknown };
  readonly imports?: unknown;
  readonly packageManager?: unknown;
  readonly scripts?: unknown;
  readonly dependencies?: Readonly<Record<string, unknown>>;
  readonly optionalDependencies?: Readonly<Record<string, unknown>>;
  readonly peerDependencies?: object;
}

const faulty = (path: string, message: string, hint?: string): DeployError =>
  new DeployError('E_BAD_PROJECT', message, { exitCode: 65, path, ...(hint === undefined ? {} : { hint }) });

/**
 * Decides the content of an artifact and writes nothing. The same project gives the same digest in any folder.
 *
 * @throws DeployError `E_BAD_PROJECT`, `E_NOT_PACKABLE`, `E_BAD_MODULE`, `E_BAD_DEPLOYMENT` (65) or `E_NO_ESBUILD` (69)
 */
export async function planArtifact(input: ArtifactInput): Promise<PlannedArtifact> {
  const file = await realpath(input.file);
  const root = projectOf(file);
  if (root === undefined) throw faulty(file, `${file}: no package.json in its folder or above`);
  const project = await readPackage(root);
  const lockfile = await lockfileOf(root, project.packageManager);
  const modules = await packModules(root, file, project.type === 'module');
  checkDependencies(root, project, modules.packages);

  const files: ArtifactFiles = new Map(modules.files);
  const skipped: string[] = [];
  for (const asset of [...modules.assets, ...extraFiles(root, project)]) {
    const collected = await collectFiles(root, asset);
    skipped.push(...collected.skipped);
    for (const one of collected.files) {
      const path = `src/${portable(root, one)}`;
      if (!files.has(path)) files.set(path, { from: one });
    }
  }
  for (const config of input.configs ?? []) {
    const path = `configs/${basename(config)}`;
    if (isNeverPacked(path)) throw faulty(config, `${config} is never packed, because it may contain a secret`);
    files.set(path, await readFile(config));
  }
  for (const name of [lockfile.name, ...lockfile.settings]) {
    await checkPackable(root, join(root, name));
    files.set(name, { from: join(root, name) });
  }
  files.set('package.json', packageFile(project, modules.entry, input.exportName));
  files.set(DOCKERFILE, Buffer.from(dockerfileOf(lockfile)));
  return { ...(await described(input, modules, files)), skipped, localPackages: localPackagesOf(project) };
}

/** What npm, pnpm and yarn take for a folder or a file. */
const LOCAL = /^(file:|link:|portal:|workspace:|\.{0,2}\/|~\/)/;

function localPackagesOf({ dependencies, optionalDependencies }: Package): string[] {
  const all = Object.entries({ ...optionalDependencies, ...dependencies });
  return all.flatMap(([name, from]) => (LOCAL.test(String(from)) ? [`${name}@${from}`] : []));
}

async function described(
  input: ArtifactInput,
  { entry, transpiler }: { readonly entry: string; readonly transpiler: string },
  files: ArtifactFiles,
): Promise<Pick<PlannedArtifact, 'manifest' | 'files'>> {
  const { graph, exportName, images = {}, runtimeVersion } = input;
  const runtime = { dynamo: runtimeVersion, node: NODE_MAJOR };
  const content = { entry, ...(exportName === undefined ? {} : { export: exportName }), runtime, transpiler, graph };
  const digest = createHash('sha256')
    .update(JSON.stringify([ARTIFACT_SCHEMA, content, images, await listed(files)]))
    .digest('hex');

  const name = input.name ?? artifactName(graph.name);
  if (!isArtifactName(name)) throw faulty(input.file, `graph '${graph.name}': its name makes no name of an artifact`);
  const version = input.version ?? digest.slice(0, 8);
  try {
    const deployment = manifestOf(graph, { name, image: `${name}:${version}`, images, runtimeVersion });
    files.set(DEPLOYMENT_FILE, Buffer.from(toYaml(deployment)));
  } catch (cause) {
    throw badDeployment(cause);
  }
  const manifest = { schema: ARTIFACT_SCHEMA, name, version, digest, ...content, files: await listed(files) } as const;
  return { manifest, files };
}

async function listed(files: ArtifactFiles): Promise<ManifestFile[]> {
  const paths = [...files.keys()].sort();
  return Promise.all(paths.map(async (path) => ({ path, sha256: await hashOf(files.get(path) as ArtifactContent) })));
}

async function readPackage(root: string): Promise<Package> {
  const path = join(root, 'package.json');
  await checkPackable(root, path);
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Package;
  } catch (error) {
    throw faulty(path, `${path}: expected JSON (${(error as Error).message})`);
  }
}

/** The image must have every package that a module imports, and it has no `devDependencies`. */
function checkDependencies(root: string, project: Package, packages: ReadonlyMap<string, string>): void {
  const { dependencies, optionalDependencies, peerDependencies } = project;
  const known = { ...dependencies, ...optionalDependencies, ...peerDependencies };
  for (const [name, importer] of packages)
    if (name !== project.name && !Object.hasOwn(known, name))
      throw faulty(
        join(root, importer),
        `${importer} imports '${name}', which is not in the dependencies of package.json`,
        `Install it: npm install ${name}`,
      );
}

/** The files and folders that package.json names in `dynamo.files`. */
function extraFiles(root: string, { dynamo }: Package): readonly string[] {
  const extra = dynamo?.files;
  if (extra === undefined) return [];
  checkArray('package.json dynamo.files', extra, 'paths');
  return extra.map((path, index) => {
    checkString(`package.json dynamo.files[${index}]`, path);
    const found = resolve(root, path);
    if (!existsSync(found)) throw faulty(found, `package.json dynamo.files: ${path} does not exist`);
    return found;
  });
}

/** The project's package.json without scripts, which names the packed module of the graph. */
function packageFile(project: Package, entry: string, exportName: string | undefined): Buffer {
  const { scripts: _, imports, ...rest } = project;
  const moved = imports === undefined ? {} : { imports: movedImports(imports) };
  const dynamo = { graph: exportName === undefined ? entry : `${entry}:${exportName}` };
  return Buffer.from(`${JSON.stringify({ ...rest, ...moved, dynamo }, undefined, 2)}\n`);
}

/** The project's files lie in `src`, below the package.json of the artifact. */
function movedImports(value: unknown): unknown {
  if (typeof value === 'string') return value.startsWith('./') ? `./src/${value.slice(2)}` : value;
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(movedImports);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, movedImports(inner)]));
}

const FILE_MODE = 0o644;
const PROGRAM_MODE = 0o755;
const OWNER_RUNS = 0o100;

/**
 * Writes an artifact. Its folder appears complete or not at all.
 *
 * @throws DeployError `E_ARTIFACT_EXISTS` (73) if the folder exists, unless `force`; `E_NOT_REPLACED` (73) if it is not
 *   an artifact, whatever `force` says
 */
export async function writeArtifact(
  { manifest, files }: PlannedArtifact,
  folder: string,
  force = false,
): Promise<void> {
  await checkOutput(folder, { kind: 'an artifact', file: MANIFEST_FILE, word: ARTIFACT_SCHEMA }, force);
  const temporary = `${folder}.${randomBytes(4).toString('hex')}.part`;
  const old = `${temporary}.old`;
  try {
    await mkdir(temporary, { recursive: true });
    for (const [path, content] of files) await writeContent(join(temporary, path), content);
    await writeContent(join(temporary, MANIFEST_FILE), Buffer.from(formatManifest(manifest)));
    for (const path of foldersOf([...files.keys()])) await chmod(join(temporary, path), PROGRAM_MODE);
    if (force && existsSync(folder)) await rename(folder, old);
    await rename(temporary, folder);
  } catch (error) {
    if (existsSync(old) && !existsSync(folder)) await rename(old, folder);
    throw isTaken(error) ? folderExists(folder) : error;
  } finally {
    for (const one of [temporary, old]) await rm(one, { recursive: true, force: true });
  }
}

/** Every folder above some files, from `.` on. */
function foldersOf(paths: readonly string[]): ReadonlySet<string> {
  const folders = new Set(['.']);
  for (const path of paths)
    for (let folder = posix.dirname(path); folder !== '.'; folder = posix.dirname(folder)) folders.add(folder);
  return folders;
}

/** Modes do not depend on the umask or on the project, except that programs stay programs. */
async function writeContent(path: string, content: ArtifactContent): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  if (Buffer.isBuffer(content)) await writeFile(path, content);
  else await copyFile(content.from, path);
  await chmod(path, ((await stat(path)).mode & OWNER_RUNS) === 0 ? FILE_MODE : PROGRAM_MODE);
}
