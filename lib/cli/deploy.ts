import { wrongType } from '../check.js';
import { boolean, custom, integer, listOf, type OptionTable, oneOf, optionTable, text } from '../options.js';
import type { Command } from './command.js';

/** The flags that say which cluster is meant. */
export interface ClusterFlags {
  readonly kubeNamespace?: string;
  readonly context?: string;
  readonly kubeconfig?: string;
  readonly requestTimeout?: number;
}

/** The options of `dynamo deploy`, `dynamo deployment create` and `update`. */
export interface DeployCommandOptions extends ClusterFlags {
  readonly name?: string;
  readonly config?: string;
  readonly image?: readonly string[];
  readonly env?: readonly string[];
  readonly runtimeVersion?: string;
  readonly wait?: boolean;
  readonly timeout?: number;
  readonly dryRun?: 'none' | 'client' | 'server';
  readonly output?: 'yaml' | 'json';
  readonly helm?: string;
  readonly force?: boolean;
  readonly forceConflicts?: boolean;
  readonly target?: 'kubernetes' | 'bento_cloud';
  readonly endpoint?: string;
}

/** Rows of an option table that other tables repeat. */
export const CLUSTER_ROWS = {
  kubeNamespace: text.about('The namespace of Kubernetes; by default that of the context.'),
  context: text.about('The context of the kubeconfig.'),
  kubeconfig: text.about('The kubeconfig; by default $KUBECONFIG, else ~/.kube/config.'),
  requestTimeout: integer(1, 3600).about('How many seconds one request may take; 30 by default.'),
} as const;

const NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const NAME_WORDS = 'a name of a-z, 0-9 and -, at most 63 characters';

const deploymentName = custom<string>(
  NAME_WORDS,
  (path, value) => {
    if (typeof value !== 'string' || !NAME.test(value) || value.length > 63) wrongType(path, NAME_WORDS, value);
  },
  'text',
);

const ROWS = {
  name: deploymentName.about('The name of the deployment; by default that of the graph.'),
  config: text.about('A YAML file with the configuration of the services.'),
  image: listOf(text).about('The image of the graph, or Service=IMAGE for one service.'),
  env: listOf(text).about('A variable of all containers, as KEY=VALUE.'),
  runtimeVersion: text.about('The version of Dynamo in the image; by default that of this package.'),
  wait: boolean.about('Wait until it is ready; --no-wait does not.'),
  timeout: integer(0, 1_000_000).about('How many seconds to wait; 3600 by default.'),
  dryRun: oneOf('none', 'client', 'server').about('Only print it, or let the server check it, and deploy nothing.'),
  output: oneOf('yaml', 'json').about('Print the deployment.'),
  helm: text.about('Write a Helm chart into this folder and deploy nothing.'),
  force: boolean.about('Replace an existing chart.'),
  forceConflicts: boolean.about('Take over fields that another program owns.'),
  target: oneOf('kubernetes', 'bento_cloud').about('kubernetes is the only one today.'),
  endpoint: text.about('Of the former API store; no longer available.'),
  ...CLUSTER_ROWS,
} as const;

/** The flags that deploy a graph. */
export const DEPLOY_OPTIONS: OptionTable<DeployCommandOptions> = optionTable<DeployCommandOptions>(ROWS);

/** Their one-letter forms. */
export const DEPLOY_SHORT = { name: 'n', config: 'f', output: 'o', target: 't', endpoint: 'e' } as const;

export const deployCommand: Command<DeployCommandOptions> = {
  name: 'deploy',
  summary: 'Deploy an artifact or a graph to Kubernetes.',
  usage: '<artifact-or-graph>',
  description:
    'Writes a DynamoGraphDeployment for the Dynamo Kubernetes platform, creates or changes it with a server-side\n' +
    'apply, and waits until it is ready.',
  options: DEPLOY_OPTIONS,
  short: DEPLOY_SHORT,
  bare: { dryRun: 'client' },
  takesOverrides: true,
  examples: ['deploy agg:1a2b3c4d -n agg --image registry.example/agg:1', 'deploy . --image agg:1 --dry-run=server'],
  load: async () => ({ run: (await import('./deploy-action.js')).runDeploy }),
};
