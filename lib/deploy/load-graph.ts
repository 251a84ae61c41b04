import { existsSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

import { Graph, graph } from '../sdk/graph.js';
import { boundService, Service } from '../sdk/service.js';
import { DeployError } from './deploy-error.js';
import { isTsxRunning } from './local/program-command.js';

/** A graph and the module that it came from. */
export interface LoadedGraph {
  readonly graph: Graph;
  /** The absolute path of its module. */
  readonly file: string;
  /** The name of the export that was asked for. Undefined if the module decides. */
  readonly exportName: string | undefined;
  /** The file URL of the loader that its module needs, for `node --import`. Undefined for JavaScript. */
  readonly loader: string | undefined;
}

/** What `loadGraph` finds without running the module. */
export type GraphModule = Omit<LoadedGraph, 'graph'>;

const TYPESCRIPT = ['.ts', '.mts', '.cts'];
const EXTENSIONS = ['.ts', '.mts', '.js', '.mjs'];

const notFound = (path: string, message: string, hint?: string): DeployError =>
  new DeployError('E_GRAPH_NOT_FOUND', message, { exitCode: 66, path, ...(hint === undefined ? {} : { hint }) });

const bad = (path: string, message: string, cause?: unknown): DeployError =>
  new DeployError('E_BAD_GRAPH', message, { exitCode: 65, path, ...(cause === undefined ? {} : { cause }) });

/** Divides `file.ts:Export`. A colon inside a folder name or after a drive letter divides nothing. */
function divide(target: string): [path: string, exportName: string | undefined] {
  const [, path, exportName] = /^(.+):([A-Za-z_$][\w$]*)$/.exec(target) ?? [];
  return path === undefined ? [target, undefined] : [path, exportName];
}

/** The module and the export that a text names, below a folder. A file may have a colon in its name. */
function named(text: string, folder: string): [file: string, exportName: string | undefined] {
  const whole = resolve(folder, text);
  if (existsSync(whole)) return [whole, undefined];
  const [path, exportName] = divide(text);
  return [resolve(folder, path), exportName];
}

/** The module of a folder: what its package.json names in `dynamo.graph`, else `graph.ts` or `graph.js`. */
function moduleOf(folder: string): [file: string, exportName: string | undefined] {
  const manifest = join(folder, 'package.json');
  if (existsSync(manifest)) {
    let content: { dynamo?: { graph?: unknown } };
    try {
      content = JSON.parse(readFileSync(manifest, 'utf8')) as typeof content;
    } catch (cause) {
      throw bad(manifest, `${manifest}: expected JSON (${(cause as Error).message})`, cause);
    }
    const text = content.dynamo?.graph;
    if (text !== undefined && typeof text !== 'string')
      throw bad(manifest, `${manifest} dynamo.graph: expected a path, got ${JSON.stringify(text)}`);
    if (text !== undefined) return named(text, folder);
  }
  const found = EXTENSIONS.map((extension) => join(folder, `graph${extension}`)).find((file) => existsSync(file));
  if (found !== undefined) return [found, undefined];
  throw notFound(
    folder,
    `${folder} has no graph: expected "dynamo": {"graph": "FILE"} in its package.json, or a file graph.ts or graph.js`,
  );
}

/** The loader of TypeScript that a project has installed, as a URL. */
function typescriptLoader(file: string): string {
  for (const from of [file, import.meta.url]) {
    try {
      return pathToFileURL(createRequire(from).resolve('tsx')).href;
    } catch {
      // Not installed there.
    }
  }
  throw new DeployError('E_NO_TYPESCRIPT', `${file}: Node.js cannot run its decorators without tsx`, {
    exitCode: 65,
    path: file,
    hint: 'Install it in the project: npm install --save-dev tsx. Or name the compiled .js file.',
  });
}

/**
 * Finds the module of a graph. `target` is as for `loadGraph`.
 *
 * @throws DeployError `E_GRAPH_NOT_FOUND` (66), `E_BAD_GRAPH` (65), or `E_NO_TYPESCRIPT` (65) if tsx is missing
 */
export function findGraph(target: string, cwd: string): GraphModule {
  const [given, exportName] = named(target, cwd);
  const stats = statSync(given, { throwIfNoEntry: false });
  if (stats === undefined) throw notFound(given, `${given}: no such file or folder`);
  const [file, namedExport] = stats.isDirectory() ? moduleOf(given) : [given, undefined];
  if (!existsSync(file)) throw notFound(file, `${file}: no such file, but ${join(given, 'package.json')} names it`);
  const isTypeScript = TYPESCRIPT.includes(extname(file));
  return { file, exportName: exportName ?? namedExport, loader: isTypeScript ? typescriptLoader(file) : undefined };
}

/** A graph of this or another copy of the package. */
const isGraph = (value: unknown): value is Graph =>
  value instanceof Graph ||
  (typeof value === 'object' && value !== null && 'dependenciesOf' in value && 'toMermaid' in value);

/** The service that a value is or stands for. */
export const serviceIn = (value: unknown): Service | undefined =>
  value instanceof Service ? value : boundService(value);

/** The service that no other one depends on. */
function rootOf(file: string, services: readonly (readonly [name: string, service: Service])[]): Service {
  const all = [...new Map(services.map(([name, service]) => [service, name]))];
  const needed = new Set(
    all.flatMap(([service]) => [...service.dependencies.values()].map((dependency) => dependency.target() as Service)),
  );
  const roots = all.filter(([service]) => !needed.has(service));
  const [root, another] = roots;
  if (root === undefined) throw bad(file, `No root service found in module '${file}'`);
  if (another === undefined) return root[0];
  const names = roots.map(([, name]) => name);
  throw bad(
    file,
    `Multiple root services found in module '${file}': [${names.join(', ')}]. ` +
      `Please specify which service to use with '${file}:<service_name>'`,
  );
}

/** The graph that a module exports: under `exportName`, else by default, else the only one, else that of its root. */
function graphOf(file: string, exportName: string | undefined, exports: Readonly<Record<string, unknown>>): Graph {
  const asGraph = (value: unknown): Graph | undefined => {
    if (isGraph(value)) return value;
    const service = serviceIn(value);
    return service === undefined ? undefined : graph(service.name, service);
  };
  if (exportName !== undefined) {
    if (!(exportName in exports))
      throw bad(file, `${file} has no export '${exportName}'; it has ${Object.keys(exports).join(', ') || 'none'}`);
    const found = asGraph(exports[exportName]);
    if (found === undefined) throw bad(file, `${file}:${exportName}: expected a graph or a service`);
    return found;
  }
  const byDefault = asGraph(exports['default']);
  if (byDefault !== undefined) return byDefault;
  const graphs = Object.entries(exports).filter(([, value]) => isGraph(value));
  if (graphs.length > 1) {
    const names = graphs.map(([name]) => name).join(', ');
    throw bad(file, `${file} exports several graphs: ${names}. Select one with '${file}:NAME'`);
  }
  if (graphs[0] !== undefined) return graphs[0][1] as Graph;
  const services = Object.entries(exports).flatMap(([name, value]) => {
    const service = serviceIn(value);
    return service === undefined ? [] : [[name, service] as const];
  });
  const root = rootOf(file, services);
  return graph(root.name, root);
}

/**
 * Imports a module of a graph. A `process.exit` in it, or an `await` that would end the process because nothing is left
 * to wait for, fails with an error, not without a word.
 */
async function importModule(file: string): Promise<Readonly<Record<string, unknown>>> {
  const { exit } = process;
  let onIdle = (): void => {};
  const idle = new Promise<never>((_, reject) => {
    onIdle = () => reject(new Error('an await outside its functions never ends'));
  });
  process.once('beforeExit', onIdle);
  process.exit = (code) => {
    throw new Error(`it calls process.exit(${code ?? ''}) while it is loaded`);
  };
  try {
    return (await Promise.race([import(pathToFileURL(file).href), idle])) as Record<string, unknown>;
  } catch (cause) {
    const message = cause instanceof Error ? cause.message || cause.name : String(cause);
    throw bad(file, `${basename(dirname(file))}/${basename(file)} cannot be loaded: ${message}`, cause);
  } finally {
    process.exit = exit;
    process.off('beforeExit', onIdle);
  }
}

/** Whether a module was written as an ES module and became a CommonJS module, such as by tsx. */
const isCommonJs = (exports: Readonly<Record<string, unknown>>): boolean =>
  [exports, exports['default']].some((one) => typeof one === 'object' && one !== null && '__esModule' in one);

/** A module of CommonJS has its own copy of this package, so no worker could run its graph. */
async function importGraphModule(file: string): Promise<Readonly<Record<string, unknown>>> {
  const exports = await importModule(file);
  if (!isCommonJs(exports)) return exports;
  throw new DeployError('E_BAD_GRAPH', `${file} is loaded as a CommonJS module: expected an ES module`, {
    exitCode: 65,
    path: file,
    hint: 'Set "type": "module" in package.json: npm pkg set type=module',
  });
}

/**
 * Loads and validates a graph.
 *
 * @param target a module (`graph.ts`, `dist/graph.js`), with the name of an export if it has several
 *   (`graph.ts:Staging`), or a folder with `"dynamo": {"graph": FILE}` in its package.json or with a `graph.ts`
 * @param cwd the folder that a relative target is meant from
 * @throws DeployError `E_GRAPH_NOT_FOUND` (66), `E_BAD_GRAPH` (65), or `E_NO_TYPESCRIPT` (65) if tsx is missing
 * @throws GraphError for a graph that is not valid
 */
export async function loadGraph(target: string, cwd: string): Promise<LoadedGraph> {
  const module = findGraph(target, cwd);
  const { file, exportName, loader } = module;
  if (loader !== undefined && !isTsxRunning()) await import(loader);
  const found = graphOf(file, exportName, await importGraphModule(file));
  found.toJSON();
  return { ...module, graph: found };
}
