import { existsSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';

import { type ArtifactFiles, checkPackable, isJavaScript, isTypeScript, portable } from './artifact-files.js';
import { DeployError } from './deploy-error.js';

/** The modules of a graph as they are packed. */
export interface PackedModules {
  /** The path of the module of the graph, such as `src/graph.js`. */
  readonly entry: string;
  readonly files: ArtifactFiles;
  /** Files and folders that the modules refer to with `new URL('...', import.meta.url)`. */
  readonly assets: readonly string[];
  /** The packages that the modules import, by name, each with a module that does so. */
  readonly packages: ReadonlyMap<string, string>;
  /** The transpiler with its version, which determines the output. */
  readonly transpiler: string;
}

/** The part of esbuild that is used here. */
interface Esbuild {
  readonly version: string;
  build(options: object): Promise<{ readonly outputFiles: readonly { readonly text: string }[] }>;
}

interface Resolution {
  readonly path: string;
  readonly external: boolean;
  readonly errors: readonly { readonly text: string }[];
}

interface ResolveArgs {
  readonly path: string;
  readonly kind: string;
  readonly resolveDir: string;
  readonly importer: string;
  readonly pluginData?: unknown;
  readonly with?: Readonly<Record<string, string>>;
}

interface PluginBuild {
  onResolve(filter: { readonly filter: RegExp }, resolve: (args: ResolveArgs) => Promise<object | undefined>): void;
  resolve(path: string, options: object): Promise<Resolution>;
}

/** The oldest Node.js that runs the output. Decorators and `using` are compiled to what it knows. */
const TARGET = 'node20.10';

/** Marks the requests of the plugin itself. */
const resolved = Symbol('resolved');

const URL_OF_FILE = /new URL\((["'`])((?:(?!\1)[^\\$\n])+)\1,\s*import\.meta\.url\)/g;

/**
 * esbuild as the project has it: directly, or as a part of tsx or vite.
 *
 * @param user what needs it, in words
 * @throws DeployError `E_NO_ESBUILD` (69) with the npm command
 */
export function esbuildOf(root: string, user = 'a build'): Esbuild {
  const require = createRequire(join(root, 'package.json'));
  for (const owner of ['', 'tsx', 'vite']) {
    try {
      const from = owner === '' ? require : createRequire(require.resolve(owner));
      return from('esbuild') as Esbuild;
    } catch {
      // Not installed there.
    }
  }
  throw new DeployError('E_NO_ESBUILD', `${root}: ${user} needs esbuild, which is not installed in the project`, {
    exitCode: 69,
    hint: 'Install it, or tsx, which has it: npm install --save-dev tsx',
  });
}

/** The path of a module in an artifact. Without `"type": "module"`, transpiled modules are `.mjs`. */
function packedPath(root: string, file: string, isModulePackage: boolean): string {
  const path = `src/${portable(root, file)}`;
  if (!isTypeScript(path)) return path;
  return path
    .replace(/\.cts$/, '.cjs')
    .replace(/\.mts$/, '.mjs')
    .replace(/\.tsx?$/, isModulePackage ? '.js' : '.mjs');
}

const packageOf = (specifier: string): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');

const isBuiltIn = (specifier: string): boolean =>
  specifier.startsWith('node:') || createRequire(import.meta.url).resolve.paths(specifier) === null;

/**
 * Packs the module of a graph and all modules of the project that it imports: TypeScript as JavaScript, JavaScript as
 * it is. Imports name the packed files afterwards.
 *
 * @param root the folder of the project's package.json, without symbolic links in its path
 * @throws DeployError `E_NO_ESBUILD` (69), `E_BAD_MODULE` (65) for a syntax error or an import that is not found,
 *   `E_NOT_PACKABLE` (65) for a module outside the project
 */
export async function packModules(root: string, entry: string, isModulePackage: boolean): Promise<PackedModules> {
  const esbuild = esbuildOf(root);
  const files: ArtifactFiles = new Map();
  const assets = new Set<string>();
  const packages = new Map<string, string>();
  const open = [entry];
  const seen = new Set(open);
  const packed = (file: string): string => packedPath(root, file, isModulePackage);
  const add = (file: string): void => {
    if (seen.has(file)) return;
    seen.add(file);
    open.push(file);
  };

  const importsOf = (file: string) => ({
    name: 'imports',
    setup(build: PluginBuild): void {
      build.onResolve({ filter: /.*/ }, async ({ path, kind, resolveDir, importer, pluginData, with: attributes }) => {
        if (kind === 'entry-point' || pluginData === resolved) return undefined;
        if (isBuiltIn(path)) return { path, external: true };
        const found = await build.resolve(path, { kind, resolveDir, importer, pluginData: resolved, with: attributes });
        if (found.errors.length > 0) return { errors: found.errors };
        if (found.external) {
          packages.set(packageOf(path), packages.get(packageOf(path)) ?? portable(root, file));
          return { path, external: true };
        }
        add(found.path);
        if (isTypeScript(file)) return { path: relativeImport(packed(file), packed(found.path)), external: true };
        if (!isTypeScript(found.path)) return { path, external: true };
        return { errors: [{ text: `a JavaScript module cannot import the TypeScript module '${path}'` }] };
      });
    },
  });

  for (let file = open.shift(); file !== undefined; file = open.shift()) {
    await checkPackable(root, file);
    if (!isTypeScript(file) && !isJavaScript(file)) {
      files.set(packed(file), { from: file });
      continue;
    }
    const text = await transpile(esbuild, root, file, importsOf(file));
    const output = text.replace(URL_OF_FILE, (whole, _quote: string, path: string) => {
      const target = resolve(dirname(file), path);
      const stats = path.includes(':') ? undefined : statSync(target, { throwIfNoEntry: false });
      if (stats === undefined) return whole;
      if (!isTypeScript(target) && !isJavaScript(target)) assets.add(target);
      else add(target);
      const url = relativeImport(packed(file), stats.isFile() ? packed(target) : `src/${portable(root, target)}/`);
      return `new URL(${JSON.stringify(url)}, import.meta.url)`;
    });
    files.set(packed(file), isTypeScript(file) ? Buffer.from(output) : await readFile(file));
  }
  return { entry: packed(entry), files, assets: [...assets], packages, transpiler: `esbuild ${esbuild.version}` };
}

/** How one packed file names another one. */
function relativeImport(from: string, to: string): string {
  const path = portable(dirname(from), to) + (to.endsWith('/') ? '/' : '');
  return path.startsWith('.') ? path : `./${path}`;
}

async function transpile(esbuild: Esbuild, root: string, file: string, plugin: object): Promise<string> {
  try {
    const { outputFiles } = await esbuild.build({
      absWorkingDir: root,
      entryPoints: [file],
      outdir: join(root, 'src'),
      bundle: true,
      write: false,
      platform: 'node',
      format: file.endsWith('.cts') ? 'cjs' : 'esm',
      target: TARGET,
      packages: 'external',
      treeShaking: false,
      charset: 'utf8',
      logLevel: 'silent',
      plugins: [plugin],
    });
    return outputFiles[0]?.text ?? '';
  } catch (cause) {
    throw esbuildFailure(root, file, cause);
  }
}

/** What esbuild has rejected with, as a `DeployError` with the place of the first fault. */
export function esbuildFailure(root: string, file: string, cause: unknown): unknown {
  const { errors = [] } = cause as { errors?: readonly { text: string; location?: Location | null }[] };
  const [first] = errors;
  if (first === undefined) return cause;
  const { file: at = portable(root, file), line = 0, column = 0 } = first.location ?? {};
  const place = line === 0 ? at : `${at}:${line}:${column + 1}`;
  return new DeployError('E_BAD_MODULE', `${place}: ${first.text}`, { exitCode: 65, path: file, cause });
}

interface Location {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** The folder of the nearest package.json at or above a file, or undefined. */
export function projectOf(file: string): string | undefined {
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder;
    if (folder === dirname(folder)) return undefined;
  }
}
