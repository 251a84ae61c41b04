import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { discoveryVariables } from '../deploy/local/discovery-settings.js';
import { ClosedError } from '../errors.js';
import { custom, type OptionTable, oneOf, optionTable } from '../options.js';
import type { RuntimeOptions } from '../runtime/config.js';
import { DistributedRuntime } from '../runtime/distributed-runtime.js';
import { linkInstances } from './instance-link.js';
import { removeAtExit } from './leftovers.js';
import type { TestLink } from './link.js';
import { TestProcess, type TestProcessOptions } from './process.js';
import { TestServer } from './server.js';
import { checkTestContext, closeAfterTest, type TestContext } from './test-context.js';

/** How long a folder that is still written to is tried to be removed. */
const FOLDER_LIMIT_MS = 3000;

/** The parts of a cluster for a test. */
export interface StartClusterOptions {
  /** `file`: a folder. `etcd`: a real server, which must be installed. @default 'file' */
  readonly discovery?: 'file' | 'etcd';
  /** `nats`: a real server, which must be installed. @default 'tcp' */
  readonly requestPlane?: 'tcp' | 'nats';
  /** @default 'zmq' */
  readonly eventPlane?: 'zmq' | 'nats';
  /** The context of a test: the cluster is closed at its end, also after a timeout. @default closed by the caller */
  readonly test?: TestContext;
}

/** @internal */
export const testRow = custom<TestContext>('the context of a test', checkTestContext).about(
  'The context of the test, at whose end it is closed.',
);

const OPTIONS: OptionTable<StartClusterOptions> = optionTable<StartClusterOptions>({
  discovery: oneOf('file', 'etcd').about('Where instances are found.'),
  requestPlane: oneOf('tcp', 'nats').about('The transport of requests.'),
  eventPlane: oneOf('zmq', 'nats').about('The transport of events.'),
  test: testRow,
});

/** @inline */
interface Closable {
  /** Idempotent. */
  close(): Promise<unknown>;
}

const CLOSE_MS = 5000;
/** How long a worker that leaves waits until proxies notice it. A test has none. */
const GRACE = 'DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS';

/** The parts of a deployment for one test. No other test sees it. Made by `startCluster`. */
export class TestCluster implements AsyncDisposable {
  /** A folder for files of the test. It is removed with the cluster. */
  readonly folder: string;
  /** The options of a runtime in it. */
  readonly options: RuntimeOptions;
  /** The same for the environment of another process. */
  readonly env: Readonly<Record<string, string>>;
  readonly #forget: () => void;
  /** What is closed with it, the last one first. */
  readonly #parts: (() => Promise<unknown>)[];
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(
    folder: string,
    options: RuntimeOptions,
    /** If discovery is etcd. */
    readonly etcd: TestServer | undefined,
    /** If a plane is NATS. */
    readonly nats: TestServer | undefined,
  ) {
    this.folder = folder;
    this.options = options;
    this.env = {
      ...discoveryVariables(options),
      ...(etcd === undefined ? {} : { ETCD_ENDPOINTS: etcd.url }),
      DYN_LOCAL_STATE_DIR: join(folder, 'runs'),
      [GRACE]: '0',
    };
    this.#forget = removeAtExit(() => rmSync(folder, { recursive: true, force: true }));
    this.#parts = [etcd, nats].flatMap((server) => (server === undefined ? [] : [() => server.close()]));
  }

  /**
   * Closes a part with the cluster: the last one first.
   *
   * @throws ClosedError after `close`; the part is then closed
   */
  use<Part extends Closable>(part: Part): Part {
    if (this.#closing !== undefined) {
      void part.close().catch(() => {});
      throw new ClosedError('the cluster', 'use');
    }
    this.#parts.push(() => part.close());
    return part;
  }

  /**
   * Creates a runtime, as that of another process. It is closed with the cluster.
   *
   * @throws ClosedError after `close`
   */
  async runtime(options: RuntimeOptions = {}): Promise<DistributedRuntime> {
    this.assertOpen('runtime');
    const creating = DistributedRuntime.create({ ...this.options, ...options });
    // Before it is there: a cluster that closes in the meantime closes it too.
    const close = (): Promise<unknown> =>
      creating.then(
        (runtime) => runtime.close({ timeoutMs: CLOSE_MS }),
        () => {},
      );
    this.#parts.push(close);
    return creating;
  }

  /**
   * Starts a program of JavaScript or TypeScript that finds the cluster by its environment. It is killed with the
   * cluster, if it still runs.
   *
   * @throws ClosedError after `close`
   */
  program(file: string, args: readonly string[] = [], options: TestProcessOptions = {}): TestProcess {
    this.assertOpen('program');
    return this.use(TestProcess.program(file, args, { ...options, env: { ...this.env, ...options.env } }));
  }

  /** Starts a command, as `program` does. */
  command(command: string, args: readonly string[] = [], options: TestProcessOptions = {}): TestProcess {
    this.assertOpen('command');
    return this.use(TestProcess.start(command, args, { ...options, env: { ...this.env, ...options.env } }));
  }

  /**
   * Puts a link between one instance and its callers. All requests to that process go through it; answers have their
   * own connection, which it does not touch. Discovery of kind `file` and the request plane TCP only.
   *
   * @param endpoint `namespace.component.endpoint`
   * @param instanceId @default the only instance
   * @throws Error for another kind of cluster, or if there is no such instance; ClosedError after `close`
   */
  async link(endpoint: string, instanceId?: bigint): Promise<TestLink> {
    this.assertOpen('link');
    return this.use(await linkInstances(this.options, endpoint, instanceId));
  }

  /**
   * Closes all its parts and removes its files. Idempotent.
   *
   * @throws what the first part that fails rejects with, when all are closed
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** @internal */
  assertOpen(operation: string): void {
    if (this.#closing !== undefined) throw new ClosedError('the cluster', operation);
  }

  async #close(): Promise<void> {
    const failures: unknown[] = [];
    try {
      for (const close of this.#parts.splice(0).reverse())
        await close().catch((error: unknown) => void failures.push(error));
      if (failures.length > 0) throw failures[0];
    } finally {
      await this.#removeFolder();
      this.#forget();
    }
  }

  /** The crates may write a file of discovery shortly after a worker that was starting has closed. */
  async #removeFolder(): Promise<void> {
    const deadline = performance.now() + FOLDER_LIMIT_MS;
    for (;;) {
      try {
        return rmSync(this.folder, { recursive: true, force: true });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY' || performance.now() > deadline) throw error;
        await setTimeout(20);
      }
    }
  }
}

/**
 * Starts an empty deployment for one test: its own discovery, and servers if they are asked for. Nothing of it is left
 * when it is closed, or when the process of the test exits.
 *
 * Dynamo reads the address of NATS once in a process. So all clusters of one process that use NATS must share one
 * server, or run in different files.
 *
 * @throws Error if a server is not installed
 *
 * @example
 * import { startCluster } from 'dynamo-node/testing';
 *
 * await using cluster = await startCluster();
 * const runtime = await cluster.runtime();
 */
export async function startCluster(options: StartClusterOptions = {}): Promise<TestCluster> {
  OPTIONS.check('startCluster options', options);
  process.env[GRACE] ??= '0';
  const { discovery = 'file', requestPlane, eventPlane, test } = options;
  const etcd = discovery === 'etcd' ? await TestServer.etcd() : undefined;
  let nats: TestServer | undefined;
  try {
    nats = requestPlane === 'nats' || eventPlane === 'nats' ? await TestServer.nats() : undefined;
  } catch (error) {
    await etcd?.close();
    throw error;
  }
  const folder = mkdtempSync(join(tmpdir(), 'dynamo-cluster-'));
  mkdirSync(join(folder, 'discovery'));
  const cluster = new TestCluster(
    folder,
    {
      discovery:
        etcd === undefined ? { kind: 'file', dir: join(folder, 'discovery') } : { kind: 'etcd', endpoints: [etcd.url] },
      host: '127.0.0.1',
      ...(requestPlane === undefined ? {} : { requestPlane }),
      ...(eventPlane === undefined ? {} : { eventPlane }),
      ...(nats === undefined ? {} : { natsServer: nats.url }),
    },
    etcd,
    nats,
  );
  if (test !== undefined) closeAfterTest(test, cluster);
  return cluster;
}
