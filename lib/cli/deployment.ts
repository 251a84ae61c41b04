import { boolean, integer, listOf, type OptionTable, oneOf, optionTable, text } from '../options.js';
import type { Command } from './command.js';
import { CLUSTER_ROWS, type ClusterFlags, DEPLOY_OPTIONS, DEPLOY_SHORT, type DeployCommandOptions } from './deploy.js';

/** The options of `dynamo deployment get`, `list` and `delete`. */
export interface DeploymentShowOptions extends ClusterFlags {
  readonly output?: 'yaml' | 'json';
}

/** The options of `dynamo deployment logs`. */
export interface DeploymentLogsOptions extends ClusterFlags {
  readonly service?: readonly string[];
  readonly follow?: boolean;
  readonly tail?: number;
}

const CLUSTER: OptionTable<ClusterFlags> = optionTable<ClusterFlags>(CLUSTER_ROWS);

const SHOW: OptionTable<DeploymentShowOptions> = optionTable<DeploymentShowOptions>({
  output: oneOf('yaml', 'json').about('Print the whole object.'),
  ...CLUSTER_ROWS,
});

const LOGS: OptionTable<DeploymentLogsOptions> = optionTable<DeploymentLogsOptions>({
  service: listOf(text).about('Only the pods of these services.'),
  follow: boolean.about('Print new lines until Ctrl-C.'),
  tail: integer(0).about('The number of last lines of each pod.'),
  ...CLUSTER_ROWS,
});

const action = () => import('./deployment-action.js');
const deploy = () => import('./deploy-action.js');

const deploymentCreate: Command<DeployCommandOptions> = {
  name: 'deployment create',
  summary: 'Deploy an artifact or a graph under a name that is not taken.',
  usage: '<artifact-or-graph>',
  options: DEPLOY_OPTIONS,
  short: DEPLOY_SHORT,
  bare: { dryRun: 'client' },
  takesOverrides: true,
  load: async () => ({ run: (await deploy()).runCreate }),
};

const deploymentUpdate: Command<DeployCommandOptions> = {
  name: 'deployment update',
  summary: 'Change an existing deployment to an artifact or a graph.',
  usage: '<name> <artifact-or-graph>',
  options: DEPLOY_OPTIONS,
  short: DEPLOY_SHORT,
  bare: { dryRun: 'client' },
  takesOverrides: true,
  load: async () => ({ run: (await deploy()).runUpdate }),
};

const deploymentGet: Command<DeploymentShowOptions> = {
  name: 'deployment get',
  summary: 'Show a deployment and the state of its services.',
  usage: '<name>',
  options: SHOW,
  short: { output: 'o' },
  load: async () => ({ run: (await action()).showDeployment }),
};

const deploymentList: Command<ClusterFlags> = {
  name: 'deployment list',
  summary: 'List the deployments of a namespace.',
  usage: '',
  options: CLUSTER,
  load: async () => ({ run: (await action()).listDeployments }),
};

const deploymentDelete: Command<ClusterFlags> = {
  name: 'deployment delete',
  summary: 'Delete a deployment.',
  usage: '<name>',
  options: CLUSTER,
  load: async () => ({ run: (await action()).deleteDeployment }),
};

const deploymentScale: Command<ClusterFlags> = {
  name: 'deployment scale',
  summary: 'Set numbers of pods: Service=3, or 3P2D for prefill and decode.',
  usage: '<name> <counts...>',
  options: CLUSTER,
  examples: ['deployment scale agg Worker=3', 'deployment scale disagg 3P2D'],
  load: async () => ({ run: (await action()).scaleDeployment }),
};

const deploymentLogs: Command<DeploymentLogsOptions> = {
  name: 'deployment logs',
  summary: 'Print the logs of the pods of a deployment.',
  usage: '<name>',
  options: LOGS,
  short: { follow: 'f' },
  load: async () => ({ run: (await action()).printLogs }),
};

/** The commands `dynamo deployment ...`, in the order of help. */
export const DEPLOYMENT_COMMANDS: readonly Command[] = [
  deploymentCreate,
  deploymentUpdate,
  deploymentGet,
  deploymentList,
  deploymentScale,
  deploymentLogs,
  deploymentDelete,
];
