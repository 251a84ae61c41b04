import { BUILDERS, type Builder } from '../deploy/artifact-image.js';
import { boolean, listOf, type OptionTable, oneOf, optionTable, text } from '../options.js';
import type { Command } from './command.js';

/** The options of `dynamo build`. */
export interface BuildCommandOptions {
  readonly output?: string;
  readonly force?: boolean;
  readonly tag?: string;
  readonly config?: string;
  readonly image?: readonly string[];
  readonly runtimeVersion?: string;
  readonly oci?: string;
  readonly containerize?: boolean;
  readonly push?: string;
  readonly builder?: Builder;
}

const OPTIONS: OptionTable<BuildCommandOptions> = optionTable<BuildCommandOptions>({
  output: text.about('The folder of the artifact; by default in packages of $DYN_HOME, which is ~/.dynamo.'),
  force: boolean.about('Replace what exists.'),
  tag: text.about('The name of the artifact, or name:version in place of the hash.'),
  config: text.about('A YAML file with the configuration of the services. It is packed.'),
  image: listOf(text).about('The image of a service, as Service=registry/name:tag. Python services need one.'),
  runtimeVersion: text.about('The version of Dynamo for the deployment; by default that of this package.'),
  oci: text.about('Write an OCI image layout into this folder. Needs no image builder.'),
  containerize: boolean.about('Build the image name:version.'),
  push: text.about('Build the image under this reference and push it.'),
  builder: oneOf(...BUILDERS).about('The image builder; by default the first one that answers.'),
});

export const buildCommand: Command<BuildCommandOptions> = {
  name: 'build',
  summary: 'Package a graph as a reproducible artifact.',
  usage: '<graph>',
  description:
    'The artifact has the modules of the graph as JavaScript, package.json and the lockfile, a Dockerfile and a\n' +
    'DynamoGraphDeployment. Its version is a hash of its content. Secrets such as .env are never packed.',
  options: OPTIONS,
  short: { output: 'o', force: 'f' },
  takesOverrides: true,
  examples: ['build graph.ts', 'build . -o out --oci image', 'build graph.ts:Agg --push registry.example/agg:1'],
  load: async () => ({ run: (await import('./build-action.js')).buildArtifact }),
};
