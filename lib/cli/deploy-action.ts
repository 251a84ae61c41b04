import { resolve } from 'node:path';

import { KubernetesApi } from '../deploy/kubernetes/api.js';
import { Deployments } from '../deploy/kubernetes/deployments.js';
import { chartOf, writeChart } from '../deploy/kubernetes/helm.js';
import type { DynamoGraphDeployment } from '../deploy/kubernetes/manifest.js';
import { toYaml } from '../deploy/yaml.js';
import { type CommandArgs, type CommandIo, EXIT, usageError } from './command.js';
import type { ClusterFlags, DeployCommandOptions } from './deploy.js';
import { type PreparedDeployment, preparedDeployment } from './deploy-source.js';
import { note, print, printJson } from './output.js';

const TIMEOUT_SECONDS = 3600;

type Args = CommandArgs<DeployCommandOptions>;

/** The deployments of the cluster and namespace that the flags name. */
export async function deploymentsOf(flags: ClusterFlags, io: CommandIo): Promise<Deployments> {
  const { kubeNamespace, context, kubeconfig, requestTimeout } = flags;
  const api = await KubernetesApi.fromConfig({
    kubeconfig: kubeconfig === undefined ? undefined : resolve(io.cwd, kubeconfig),
    context,
    namespace: kubeNamespace,
    timeoutMs: requestTimeout === undefined ? undefined : requestTimeout * 1000,
    env: io.env,
  });
  return new Deployments(api);
}

/** Runs `body` with a signal that Ctrl-C and SIGTERM abort. The exit code is then that of the signal. */
export async function untilInterrupted(
  io: CommandIo,
  body: (signal: AbortSignal) => Promise<number | void>,
): Promise<number | void> {
  const controller = new AbortController();
  let code: number | undefined;
  const abort = (exitCode: number) => () => {
    code = exitCode;
    controller.abort();
  };
  const handlers = [io.onSignal('SIGINT', abort(EXIT.interrupted)), io.onSignal('SIGTERM', abort(EXIT.terminated))];
  try {
    return (await body(controller.signal)) ?? code;
  } catch (error) {
    if (code === undefined) throw error;
    return code;
  } finally {
    for (const remove of handlers) remove();
  }
}

export const runDeploy = (args: Args, io: CommandIo): Promise<number | void> =>
  deploy(args.positionals[0] as string, args, undefined, io);

export function runCreate(args: Args, io: CommandIo): Promise<number | void> {
  return deploy(args.positionals[0] as string, args, false, io);
}

export function runUpdate(args: Args, io: CommandIo): Promise<number | void> {
  const [name, target] = args.positionals as [string, string];
  if (args.options.name !== undefined && args.options.name !== name)
    throw usageError(`--name: expected ${name}, got ${args.options.name}`);
  return deploy(target, { ...args, options: { ...args.options, name } }, true, io);
}

async function deploy(target: string, args: Args, exists: boolean | undefined, io: CommandIo): Promise<number | void> {
  const { options, overrides, json } = args;
  const prepared = await preparedDeployment(target, options, overrides, io);
  if (options.helm !== undefined) return writeHelm(prepared, resolve(io.cwd, options.helm), args, io);
  if (options.dryRun === 'client') return show(prepared.manifest, options.output ?? (json ? 'json' : 'yaml'), io);
  return untilInterrupted(io, (signal) => send(prepared.manifest, args, exists, io, signal));
}

async function send(
  wanted: DynamoGraphDeployment,
  { options, json }: Args,
  exists: boolean | undefined,
  io: CommandIo,
  signal: AbortSignal,
): Promise<number | void> {
  const { dryRun = 'none', wait = true, timeout = TIMEOUT_SECONDS, forceConflicts = false, output } = options;
  const deployments = await deploymentsOf(options, io);
  const { name } = wanted.metadata;
  const { namespace } = deployments.api;
  const manifest = { ...wanted, metadata: { ...wanted.metadata, namespace } };
  const applied = await deployments.apply(manifest, {
    dryRun: dryRun === 'server',
    force: forceConflicts,
    signal,
    ...(exists === undefined ? {} : { exists }),
  });
  if (output !== undefined) show(applied, output, io);
  if (dryRun === 'server') {
    if (output === undefined) report(io, json, `Deployment '${name}' is valid (dry run).`, { name, namespace, dryRun });
    return;
  }
  if (!wait) {
    if (output === undefined) report(io, json, `Deployment '${name}' applied in ${namespace}.`, { name, namespace });
    return;
  }
  const readiness = await deployments.waitUntilReady(name, {
    timeoutMs: timeout * 1000,
    signal,
    onProgress: ({ phase, summary }) => note(io, `${phase}: ${summary}`),
  });
  const { phase, summary } = readiness;
  const text = {
    ready: `Deployment '${name}' is ready in ${namespace}.`,
    failed: `Deployment '${name}' has failed: ${summary}`,
    waiting: `Deployment '${name}' is not ready after ${timeout} s: ${summary}`,
  }[phase];
  if (output === undefined) report(io, json, text, { name, namespace, phase, summary });
  else note(io, text);
  return { ready: EXIT.ok, failed: EXIT.failure, waiting: EXIT.notReady }[phase];
}

async function writeHelm(prepared: PreparedDeployment, folder: string, { options, json }: Args, io: CommandIo) {
  const { manifest, version } = prepared;
  const files = chartOf(manifest, '0.1.0', version ?? '0.1.0');
  await writeChart(folder, files, options.force);
  report(io, json, `Chart written to ${folder}.`, { folder, files: Object.keys(files) });
}

/** Prints an object of the API. */
export function show(object: object, format: 'yaml' | 'json', io: CommandIo): void {
  if (format === 'json') print(io, JSON.stringify(object, undefined, 2));
  else io.stdout.write(toYaml(object));
}

/** Prints one sentence, or one JSON value. */
export function report(io: CommandIo, json: boolean, text: string, value: object): void {
  if (json) printJson(io, value);
  else print(io, text);
}
