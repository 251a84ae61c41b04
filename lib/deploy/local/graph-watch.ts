import { realpathSync } from 'node:fs';
import { setTimeout as after } from 'node:timers/promises';
import { ChildProcess, type ChildProcessEnd, type CommandLine } from '../../runtime/child-process.js';
import type { GraphSpec } from '../../sdk/graph-spec.js';
import { DeployError } from '../deploy-error.js';
import type { GraphModule } from '../load-graph.js';
import { fileHash, filesOfServices, moduleGraph } from './code-map.js';
import type { Described, DescribeRequest } from './describe.js';
import { programCommand } from './program-command.js';

/** What a watch of the code of a graph needs. */
export interface GraphWatchOptions {
  readonly module: GraphModule;
  /** The words before a command that end it with this process. */
  readonly prefix: readonly string[];
  /** Replaces the workers of a service. Rejects if the new ones do not start, or when the signal ends their start. */
  readonly reload: (service: string, signal: AbortSignal) => Promise<void>;
  /** Takes what happens, in words. */
  readonly note: (message: string) => void;
}

const INTERVAL_MS = 250;
/** An editor may write several files. */
const SETTLE_MS = 100;
/** The digest of workers whose replacement was ended. */
const UNKNOWN = '';
const DESCRIBE_TIMEOUT_MS = 120_000;

/** The code of a graph at one time. */
interface Code {
  readonly spec: GraphSpec;
  /** By the name of the service: its files with their hashes, as one text. */
  readonly digests: ReadonlyMap<string, string>;
  /** The hashes of all modules, by their paths. */
  readonly hashes: ReadonlyMap<string, string>;
}

/** The parts of a service that only a start of the graph applies. */
const fixedParts = ({ name, entry, services }: GraphSpec): string =>
  JSON.stringify({
    name,
    entry,
    services: services.map(({ endpoints: _, config: __, ...service }) => service),
  });

/**
 * Watches the modules of a graph, and replaces the workers of those services whose code has changed. A graph that
 * cannot be loaded changes nothing, until the next change.
 */
export class GraphWatch {
  readonly #options: GraphWatchOptions;
  readonly #ending = new AbortController();
  /** The code that the workers run. */
  #code: Code;
  /** What was looked at last, also if it could not be loaded. */
  #seen: ReadonlyMap<string, string>;
  #loop: Promise<void> | undefined;

  private constructor(options: GraphWatchOptions, code: Code) {
    this.#options = options;
    this.#code = code;
    this.#seen = code.hashes;
  }

  /** @throws DeployError `E_NO_ESBUILD` (69), or `E_BAD_GRAPH` (65) for a graph that cannot be loaded */
  static async start(options: GraphWatchOptions): Promise<GraphWatch> {
    const watch = new GraphWatch(options, await codeOf(options));
    watch.#loop = watch.#run();
    return watch;
  }

  async close(): Promise<void> {
    this.#ending.abort();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { signal } = this.#ending;
    const pause = (ms: number): Promise<void> => after(ms, undefined, { signal }).catch(() => {});
    while (!signal.aborted) {
      await pause(INTERVAL_MS);
      if (signal.aborted || !this.#hasChanged()) continue;
      await pause(SETTLE_MS);
      if (!signal.aborted) await this.#reload();
    }
  }

  #hasChanged(): boolean {
    return [...this.#seen].some(([file, hash]) => fileHash(file) !== hash);
  }

  /** A module may never end to load, and a worker never end to start: the next change then counts. */
  async #reload(): Promise<void> {
    this.#seen = new Map([...this.#seen.keys()].map((file) => [file, fileHash(file)]));
    const outdated = new AbortController();
    const timer = setInterval(() => {
      if (this.#hasChanged()) outdated.abort();
    }, INTERVAL_MS);
    try {
      await this.#apply(AbortSignal.any([outdated.signal, this.#ending.signal]));
    } finally {
      clearInterval(timer);
    }
  }

  async #apply(signal: AbortSignal): Promise<void> {
    const { note, reload } = this.#options;
    let code: Code;
    try {
      code = await codeOf(this.#options, signal);
    } catch (error) {
      if (!signal.aborted) note(`the changed code is not used: ${(error as Error).message}`);
      return;
    }
    this.#seen = code.hashes;
    if (fixedParts(code.spec) !== fixedParts(this.#code.spec))
      note(`the services of graph ${code.spec.name} or their options have changed; a restart of the graph applies it`);
    const digests = new Map(this.#code.digests);
    for (const { name } of this.#code.spec.services) {
      const digest = code.digests.get(name);
      if (digest === undefined || digest === digests.get(name) || signal.aborted) continue;
      try {
        await reload(name, signal);
        note(`${name} runs its changed code`);
      } catch (error) {
        if (signal.aborted) {
          digests.set(name, UNKNOWN);
          continue;
        }
        note(`${name} keeps its old code: ${(error as Error).message}`);
      }
      // The next change of its files tries again.
      digests.set(name, digest);
    }
    this.#code = { spec: this.#code.spec, digests, hashes: code.hashes };
  }
}

async function codeOf({ module, prefix }: GraphWatchOptions, signal?: AbortSignal): Promise<Code> {
  const { exportName } = module;
  const file = realpathSync(module.file);
  const modules = await moduleGraph(file);
  const files = [...modules.imports.keys()];
  const hashes = new Map(files.map((one) => [one, fileHash(one)]));
  const target = exportName === undefined ? file : `${file}:${exportName}`;
  const request = { target, modules: files.filter((one) => /\.[cm]?[jt]s$/.test(one)) };
  const described = await describe(module, prefix, request, signal);
  const { spec, exporters } = described;
  const byService = filesOfServices(spec, file, modules, exporters);
  for (const one of [...byService.values()].flat()) if (!hashes.has(one)) hashes.set(one, fileHash(one));
  const digests = new Map(
    [...byService].map(([name, own]) => [name, own.map((one) => `${one} ${hashes.get(one)}`).join('\n')]),
  );
  return { spec, digests, hashes };
}

const wordsOf = ({ code, signal, timedOut }: ChildProcessEnd): string =>
  timedOut ? `it does not load within ${DESCRIBE_TIMEOUT_MS} ms` : `its process ended (${signal ?? `code ${code}`})`;

async function describe(
  { loader, file }: GraphModule,
  prefix: readonly string[],
  request: DescribeRequest,
  signal: AbortSignal | undefined,
): Promise<Extract<Described, { spec: GraphSpec }>> {
  const words = [...prefix, ...programCommand(import.meta.url, 'describe', loader), JSON.stringify(request)];
  let described: Described | undefined;
  const child = ChildProcess.start(words as unknown as CommandLine, {
    timeoutMs: DESCRIBE_TIMEOUT_MS,
    signal,
    onMessage: (message) => {
      described = message as Described;
    },
  });
  const end = await child.ended;
  if (described !== undefined && 'spec' in described) return described;
  const message = described?.message ?? (end.errorText.trim() || wordsOf(end));
  throw new DeployError('E_BAD_GRAPH', message, { exitCode: 65, path: file });
}
