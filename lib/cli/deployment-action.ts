import type { Deployments } from '../deploy/kubernetes/deployments.js';
import { type LiveDeployment, readinessOf } from '../deploy/kubernetes/status.js';
import { parseXPyD } from '../sdk/xpyd.js';
import { type CommandArgs, type CommandIo, EXIT, usageError } from './command.js';
import type { ClusterFlags } from './deploy.js';
import { deploymentsOf, report, show, untilInterrupted } from './deploy-action.js';
import type { DeploymentLogsOptions, DeploymentShowOptions } from './deployment.js';
import { note, print, printJson, tableLines } from './output.js';

const nameIn = ({ positionals }: CommandArgs<object>): string => positionals[0] as string;

function summaryOf(live: LiveDeployment): object {
  const { metadata, status = {} } = live;
  const { phase, summary } = readinessOf(live);
  return { name: metadata.name, namespace: metadata.namespace, phase, state: status.state, summary };
}

export async function showDeployment(args: CommandArgs<DeploymentShowOptions>, io: CommandIo): Promise<void> {
  const live = await (await deploymentsOf(args.options, io)).get(nameIn(args));
  if (args.options.output !== undefined) return show(live, args.options.output, io);
  if (args.json) return printJson(io, summaryOf(live));
  const { metadata, spec, status = {} } = live;
  const { phase, summary } = readinessOf(live);
  print(io, `${metadata.name} in ${metadata.namespace}: ${phase}`);
  if (phase !== 'ready') print(io, summary);
  const rows = spec.components.map(({ name, type, replicas, scalingAdapter, podTemplate }) => {
    const { readyReplicas = 0 } = status.components?.[name] ?? {};
    const image = podTemplate.spec.containers.find((container) => container.name === 'main')?.image ?? '';
    return [name, type, `${readyReplicas}/${replicas}`, scalingAdapter === undefined ? '' : 'scaled', image];
  });
  for (const line of tableLines(io, rows, ['SERVICE', 'ROLE', 'READY', '', 'IMAGE'])) print(io, line);
}

export async function listDeployments({ options, json }: CommandArgs<ClusterFlags>, io: CommandIo): Promise<void> {
  const deployments = await deploymentsOf(options, io);
  const all = await deployments.list();
  if (json) return printJson(io, all.map(summaryOf));
  if (all.length === 0) return note(io, `no deployments in ${deployments.api.namespace}`);
  const rows = all.map((live) => {
    const { phase, summary } = readinessOf(live);
    return [live.metadata.name, phase, live.metadata.creationTimestamp ?? '', summary];
  });
  for (const line of tableLines(io, rows, ['NAME', 'STATE', 'CREATED', 'READY'])) print(io, line);
}

export async function deleteDeployment(args: CommandArgs<ClusterFlags>, io: CommandIo): Promise<void> {
  const name = nameIn(args);
  await (await deploymentsOf(args.options, io)).delete(name);
  report(io, args.json, `Deployment '${name}' is deleted.`, { name, deleted: true });
}

/** The numbers that the words ask for, by the name of a component. */
async function countsOf(deployments: Deployments, name: string, words: readonly string[]) {
  const counts: Record<string, number> = {};
  for (const word of words) {
    const [, component, count] = /^([A-Za-z0-9-]+)=(\d{1,6})$/.exec(word) ?? [];
    if (component !== undefined) counts[component] = Number(count);
    else Object.assign(counts, await countsOfRoles(deployments, name, word));
  }
  return counts;
}

async function countsOfRoles(deployments: Deployments, name: string, word: string): Promise<Record<string, number>> {
  let roles: Readonly<Record<string, number>>;
  try {
    roles = { ...parseXPyD(word) };
  } catch {
    throw usageError(`counts: expected Service=3 or 3P2D, got '${word}'`);
  }
  const { components } = (await deployments.get(name)).spec;
  return Object.fromEntries(
    Object.entries(roles).map(([role, count]) => {
      const component = components.find(({ type }) => type === role);
      if (component === undefined) throw usageError(`deployment ${name} has no component of type ${role}`);
      return [component.name, count];
    }),
  );
}

export async function scaleDeployment(args: CommandArgs<ClusterFlags>, io: CommandIo): Promise<void> {
  const [name, ...words] = args.positionals as [string, ...string[]];
  const deployments = await deploymentsOf(args.options, io);
  const counts = await countsOf(deployments, name, words);
  await deployments.scale(name, counts);
  const text = Object.entries(counts).map(([component, count]) => `${component}=${count}`);
  report(io, args.json, `Deployment '${name}' is scaled to ${text.join(', ')}.`, { name, counts });
}

export async function printLogs(args: CommandArgs<DeploymentLogsOptions>, io: CommandIo): Promise<number | void> {
  const { service = [undefined], follow = false, tail } = args.options;
  const name = nameIn(args);
  const deployments = await deploymentsOf(args.options, io);
  const pods = (await Promise.all(service.map((one) => deployments.pods(name, one)))).flat();
  if (pods.length === 0) {
    await deployments.get(name);
    note(io, `deployment '${name}' has no pods`);
    return EXIT.ok;
  }
  return untilInterrupted(io, async (signal) => {
    const printLog = async ({ name: pod, component }: (typeof pods)[number]): Promise<void> => {
      const options = { follow, signal, ...(tail === undefined ? {} : { tail }) };
      for await (const line of deployments.logs(pod, options)) {
        if (args.json) printJson(io, { component, pod, line });
        else print(io, `[${component}/${pod}] ${line}`);
      }
    };
    if (follow) await Promise.all(pods.map(printLog));
    else for (const pod of pods) await printLog(pod);
  });
}
