import { delimiter, dirname } from 'node:path';

import type { PythonSpec, ServiceSpec } from '../../sdk/graph-spec.js';
import { discoveryVariables } from './discovery-settings.js';
import type { InstanceMatch } from './instance-watch.js';
import type { SpawnWorker } from './managed-worker.js';
import type { SpawnOptions } from './spawn-options.js';
import { killGroup, startProcess, type WorkerProcess } from './worker-process.js';

type PythonService = ServiceSpec & { readonly python: PythonSpec };
type Report = Parameters<SpawnWorker>[1];

/** Dynamo's frontend registers no endpoint: it is ready when its HTTP server answers. */
export const FRONTEND = 'dynamo.frontend';
const MOCKER = 'dynamo.mocker';
const FRONTEND_PORT = '8000';
const LOOK_MS = 200;

/** The value of a flag, written as one word or two. */
function flagValue(args: readonly string[], flag: string): string | undefined {
  const index = args.findIndex((word) => word === flag || word.startsWith(`${flag}=`));
  const word = args[index];
  if (word === undefined) return undefined;
  return word === flag ? args[index + 1] : word.slice(flag.length + 1);
}

/** Calls `found` when an HTTP server answers. Returns a function that ends the wait. */
function awaitServer(url: string, found: () => void): () => void {
  let isOver = false;
  const look = async (): Promise<void> => {
    while (!isOver) {
      const isUp = await fetch(url).then(
        ({ ok }) => ok,
        () => false,
      );
      if (isUp && !isOver) return found();
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  };
  void look();
  return () => {
    isOver = true;
  };
}

/** Programs of Python append the suffix themselves, also if it is there. */
function withoutSuffix(namespace: string, { DYN_NAMESPACE_WORKER_SUFFIX: suffix = '' }: NodeJS.ProcessEnv): string {
  return suffix !== '' && namespace.endsWith(`-${suffix}`) ? namespace.slice(0, -suffix.length - 1) : namespace;
}

/**
 * Runs a program of Python as one worker. It gets the discovery of the graph and its endpoint by variables, and is
 * ready when a new instance of its component is found.
 */
export function startPython(
  { module: graph, spec, runtime, watch, prefix, onOutput }: SpawnOptions,
  { name, namespace, component, python }: PythonService,
  env: NodeJS.ProcessEnv,
  worker: Parameters<SpawnWorker>[0],
  report: Report,
): WorkerProcess {
  const { module, args } = python;
  const given = flagValue(args, '--endpoint')?.replace(/^dyn:\/\//, '');
  const address = given ?? `${namespace}.${component}.generate`;
  const [itsNamespace = '', itsComponent = ''] = address.split('.');
  // Some programs have their own component and ignore the variable.
  const taken = spec.services.filter((other) => other.name !== name).map((other) => other.component);
  const matches: InstanceMatch = (instance) =>
    instance.namespace === itsNamespace && (instance.component === itsComponent || !taken.includes(instance.component));
  const port = flagValue(args, '--http-port') ?? env['DYNAMO_PORT'] ?? env['DYN_HTTP_PORT'] ?? FRONTEND_PORT;
  const host = flagValue(args, '--http-host') ?? env['DYNAMO_HOST'] ?? env['DYN_HTTP_HOST'] ?? '127.0.0.1';
  const url = `http://${host}:${port}`;
  const forget =
    module === FRONTEND
      ? awaitServer(`${url}/health`, () => report({ type: 'ready', url }))
      : watch.await(matches, ({ instanceId }) => report({ type: 'ready', instanceId: String(instanceId) }));
  const own =
    module === FRONTEND
      ? { DYN_HTTP_HOST: host, DYN_HTTP_PORT: port }
      : {
          DYN_NAMESPACE: withoutSuffix(itsNamespace, env),
          ...(given === undefined ? { DYN_ENDPOINT: `dyn://${address}` } : {}),
        };
  // It ignores the variable: without the flag, two of them in a graph could be taken for each other.
  const endpointFlag = module === MOCKER && given === undefined ? ['--endpoint', `dyn://${address}`] : [];
  const child = startProcess({
    command: [...prefix, env['DYN_PYTHON'] ?? 'python3', '-m', module, ...args, ...endpointFlag],
    env: {
      PYTHONUNBUFFERED: '1',
      ...env,
      PYTHONPATH: [dirname(graph.file), env['PYTHONPATH']].filter(Boolean).join(delimiter),
      ...discoveryVariables(runtime),
      ...own,
    },
    hasChannel: false,
    onEvent(event) {
      if (event.type === 'exited') forget();
      report(event);
    },
    onOutput: (stream) => onOutput(worker, stream),
  });
  return {
    pid: child.pid,
    release: () => {},
    measure: () => {},
    recall: () => {},
    drain: () => child.kill('SIGTERM'),
    kill: () => killGroup(child),
  };
}
