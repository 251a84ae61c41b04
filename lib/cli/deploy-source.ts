import { resolve } from 'node:path';
import { artifactName } from '../deploy/artifact-manifest.js';
import { readArtifact } from '../deploy/artifact-read.js';
import { findArtifact, isArtifact, parseTag } from '../deploy/artifact-store.js';
import { readConfig } from '../deploy/config-file.js';
import { badDeployment, DeployError } from '../deploy/deploy-error.js';
import { type DynamoGraphDeployment, manifestOf } from '../deploy/kubernetes/manifest.js';
import { applyConfig } from '../sdk/config.js';
import type { GraphSpec } from '../sdk/graph-spec.js';
import { type CommandIo, usageError } from './command.js';
import type { DeployCommandOptions } from './deploy.js';
import { checkPythonImages, configuredGraph, pairsOf } from './graph-source.js';
import { note } from './output.js';
import { CRATES } from './version.js';

/** The tag of an image that no flag names, where none is needed. */
const PLACEHOLDER = 'VERSION';

/** A graph to deploy. */
interface Source {
  readonly spec: GraphSpec;
  /** The name of the artifact or of the graph. */
  readonly name: string;
  /** The version of the artifact. */
  readonly version: string | undefined;
  /** The image of the artifact. */
  readonly image: string | undefined;
  readonly runtimeVersion: string;
}

/** A deployment for the command line, and the version of its artifact. */
export interface PreparedDeployment {
  readonly manifest: DynamoGraphDeployment;
  readonly version: string | undefined;
}

/** The folder of the artifact that a word names, or undefined if it names a graph. */
async function artifactFolder(target: string, io: CommandIo): Promise<string | undefined> {
  const folder = resolve(io.cwd, target);
  if (isArtifact(folder)) return folder;
  if (!/^[a-z0-9-]+:[\w.-]+$/.test(target) || parseTag('artifact', target).version === undefined) return undefined;
  try {
    return await findArtifact(target, io.env);
  } catch (error) {
    // `graph:Export` looks the same. The graph's own error then says that neither exists.
    if (error instanceof DeployError && error.code === 'E_NO_ARTIFACT') return undefined;
    throw error;
  }
}

async function sourceOf(
  target: string,
  { config }: DeployCommandOptions,
  overrides: readonly string[],
  io: CommandIo,
): Promise<Source> {
  const folder = await artifactFolder(target, io);
  if (folder === undefined) {
    const { spec } = await configuredGraph(target, config, overrides, io);
    const runtimeVersion = CRATES['dynamo-runtime'];
    return { spec, name: artifactName(spec.name), version: undefined, image: undefined, runtimeVersion };
  }
  const { manifest } = await readArtifact(folder);
  const values = await readConfig({
    services: manifest.graph.services.map(({ name }) => name),
    file: config === undefined ? undefined : resolve(io.cwd, config),
    overrides,
    env: io.env,
    warn: (message) => note(io, `warning: ${message}`),
  });
  return {
    spec: applyConfig(manifest.graph, values),
    name: manifest.name,
    version: manifest.version,
    image: `${manifest.name}:${manifest.version}`,
    runtimeVersion: manifest.runtime.dynamo,
  };
}

/**
 * The deployment that the flags ask for.
 *
 * @throws CliError `E_USAGE` (64), DeployError `E_BAD_DEPLOYMENT` (65), and the errors of graphs and artifacts
 */
export async function preparedDeployment(
  target: string,
  options: DeployCommandOptions,
  overrides: readonly string[],
  io: CommandIo,
): Promise<PreparedDeployment> {
  if (options.endpoint !== undefined || options.target === 'bento_cloud')
    throw usageError(
      'the API store of Dynamo Cloud no longer exists; deploy talks to the Kubernetes API',
      'Name the cluster with --kubeconfig and --context.',
    );
  const source = await sourceOf(target, options, overrides, io);
  const { '': named = source.image, ...images } = pairsOf('--image', options.image, true);
  checkPythonImages(source.spec, images);
  const needsImage = source.spec.services.find((one) => {
    return one.python === undefined && one.image === undefined && images[one.name] === undefined;
  });
  // Nothing runs, so an image that is not built yet is enough.
  const isShown = options.dryRun === 'client' || options.helm !== undefined;
  const image = named ?? (needsImage !== undefined && isShown ? `${source.name}:${PLACEHOLDER}` : undefined);
  if (image === undefined && needsImage !== undefined)
    throw usageError(
      `${needsImage.name} has no image`,
      `Build and push one: dynamo build ${target} --push IMAGE. Then name it with --image IMAGE.`,
    );
  if (image !== named) note(io, `image: ${image} stands for an image that is not built yet; name it with --image`);
  if (image === source.image && image !== undefined && options.dryRun === undefined && options.helm === undefined)
    note(io, `image: ${image}; if the cluster pulls it from a registry, name it with --image`);
  try {
    const manifest = manifestOf(source.spec, {
      name: options.name ?? source.name,
      ...(image === undefined ? {} : { image }),
      images,
      env: pairsOf('--env', options.env),
      runtimeVersion: options.runtimeVersion ?? source.runtimeVersion,
    });
    return { manifest, version: source.version };
  } catch (cause) {
    throw badDeployment(cause);
  }
}
