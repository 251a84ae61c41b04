import type { ServiceSpec } from '../../sdk/graph-spec.js';
import type { SpawnWorker } from './managed-worker.js';
import { programCommand } from './program-command.js';
import type { SpawnOptions } from './spawn-options.js';
import { startPython } from './spawn-python.js';
import type { FromWorker, ToWorker } from './worker-messages.js';
import { killGroup, startProcess, type WorkerProcess } from './worker-process.js';
import { writeWorkerSpec } from './worker-spec.js';

type Start = Parameters<SpawnWorker>;

/** Starts workers in TypeScript and in Python. */
export function spawnerOf(options: SpawnOptions): SpawnWorker {
  const services = new Map(options.spec.services.map((service) => [service.name, service]));
  return (worker, report) => {
    const service = services.get(worker.service) as ServiceSpec;
    const env = {
      ...options.env,
      ...addressVariables(options, service),
      ...service.env,
      ...(worker.gpus.length === 0 ? {} : { CUDA_VISIBLE_DEVICES: worker.gpus.join(',') }),
    };
    return service.python === undefined
      ? startCode(options, service, env, worker, report)
      : startPython(options, { ...service, python: service.python }, env, worker, report);
  };
}

/** Source: `workerAddress` of the host. The port is only for the entry, or for a service that is served alone. */
function addressVariables({ httpHost, httpPort, spec }: SpawnOptions, { name }: ServiceSpec): NodeJS.ProcessEnv {
  const hasPort = name === spec.entry || spec.services.length === 1;
  return {
    DYNAMO_HOST: httpHost,
    DYNAMO_PORT: hasPort && httpPort !== undefined ? String(httpPort) : undefined,
  };
}

function startCode(
  options: SpawnOptions,
  { name, config }: ServiceSpec,
  env: NodeJS.ProcessEnv,
  worker: Start[0],
  report: Start[1],
): WorkerProcess {
  const { module, runtime, folder, prefix, onOutput } = options;
  const specFile = folder.specOf(name, worker.number);
  writeWorkerSpec(specFile, {
    graph: module.file,
    ...(module.exportName === undefined ? {} : { exportName: module.exportName }),
    service: name,
    worker: worker.number,
    config,
    runtime,
    folder: folder.path,
  });
  const onMessage = (message: unknown): void => {
    const sent = message as FromWorker;
    if (sent.type === 'ready' || sent.type === 'failed') report(sent);
    if (sent.type === 'recalled' && sent.phases !== undefined)
      options.onRecalled({ service: name, number: worker.number, ...sent.phases });
    if (sent.type === 'metrics') options.onMetrics(worker, sent.metrics);
  };
  const child = startProcess({
    command: [...prefix, ...programCommand(import.meta.url, 'worker', module.loader), specFile],
    env,
    hasChannel: true,
    onEvent: report,
    onMessage,
    onOutput: (stream) => onOutput(worker, stream),
  });
  const send = (message: ToWorker): void => {
    if (child.connected) child.send(message, () => {});
  };
  return {
    pid: child.pid,
    release: () => send({ type: 'start' }),
    measure: () => send({ type: 'measure' }),
    recall: (requestId) => send({ type: 'recall', requestId }),
    drain: (timeoutMs, lingerMs) => send({ type: 'drain', timeoutMs, lingerMs }),
    kill: () => killGroup(child),
  };
}
