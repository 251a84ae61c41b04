import { createHash } from 'node:crypto';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { GraphSpec } from '../../sdk/graph-spec.js';
import { esbuildFailure, esbuildOf, projectOf } from '../artifact-modules.js';

/** The modules of a project that one module reaches. Packages are not followed. */
export interface ModuleGraph {
  /** The imports of each module, all as absolute paths. */
  readonly imports: ReadonlyMap<string, readonly string[]>;
}

interface Metafile {
  readonly inputs: Readonly<Record<string, { readonly imports: readonly { path: string; external?: boolean }[] }>>;
}

/**
 * Finds the modules of a graph with esbuild, without running them.
 *
 * @throws DeployError `E_NO_ESBUILD` (69), or `E_BAD_MODULE` (65) with the place of a syntax error
 */
export async function moduleGraph(file: string): Promise<ModuleGraph> {
  const root = realpathSync(projectOf(file) ?? dirname(file));
  const esbuild = esbuildOf(root, '--watch');
  const built = esbuild.build({
    absWorkingDir: root,
    entryPoints: [file],
    outdir: root,
    bundle: true,
    write: false,
    metafile: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    logLevel: 'silent',
  });
  const { metafile } = (await built.catch((cause: unknown) => {
    throw esbuildFailure(root, file, cause);
  })) as unknown as { readonly metafile: Metafile };
  const imports = Object.entries(metafile.inputs).map(([path, input]) => {
    const own = input.imports.filter(({ external }) => external !== true);
    return [resolve(root, path), own.map((one) => resolve(root, one.path))] as const;
  });
  return { imports: new Map(imports) };
}

/** The modules that a module reaches, itself included. Those of `except` are not entered. */
function reached({ imports }: ModuleGraph, from: string, except: ReadonlySet<string> = new Set()): Set<string> {
  const found = new Set([from]);
  for (const file of found) for (const next of imports.get(file) ?? []) if (!except.has(next)) found.add(next);
  return found;
}

/**
 * The files of the code of each service: the module that defines it and what that imports, up to the modules that
 * define other services. A service that no module exports belongs to the module of the graph.
 *
 * @param exporters the modules that export each service, by its name
 */
export function filesOfServices(
  { services }: GraphSpec,
  graphFile: string,
  modules: ModuleGraph,
  exporters: Readonly<Record<string, readonly string[]>>,
): ReadonlyMap<string, readonly string[]> {
  // A module that exports a service of another module again reaches more.
  const definers = new Map(
    services.map(({ name }) => {
      const sizes = (exporters[name] ?? []).map((file) => ({ file, size: reached(modules, file).size }));
      return [name, sizes.sort((a, b) => a.size - b.size)[0]?.file ?? graphFile];
    }),
  );
  return new Map(
    services.map(({ name, python }) => {
      if (python !== undefined) return [name, pythonFiles(dirname(graphFile), python.module)];
      const own = definers.get(name) as string;
      return [name, [...reached(modules, own, new Set(definers.values()))].sort()];
    }),
  );
}

/** The file of a module of Python in the folder of the graph. One that is installed is not watched. */
function pythonFiles(folder: string, module: string): string[] {
  const path = join(folder, ...module.split('.'));
  return [`${path}.py`, join(path, '__main__.py')].filter((file) => existsSync(file));
}

/** A hash of the content of a file; empty if it is missing. */
export function fileHash(file: string): string {
  try {
    return createHash('sha256').update(readFileSync(file)).digest('hex');
  } catch {
    return '';
  }
}
