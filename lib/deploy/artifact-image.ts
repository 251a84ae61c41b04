import { spawn } from 'node:child_process';
import { once } from 'node:events';

import type { Lockfile } from './artifact-lockfile.js';
import { DeployError } from './deploy-error.js';

/** The programs that build and push images. */
export const BUILDERS = ['docker', 'podman', 'buildah'] as const;

/** A program that builds and pushes images. */
export type Builder = (typeof BUILDERS)[number];

/** The path of the Dockerfile in an artifact. */
export const DOCKERFILE = 'env/docker/Dockerfile';

/** The major version of Node.js in the images: the current long-term one. */
export const NODE_MAJOR = '24';

/** With its registry: podman and buildah know short names only where a list of them is installed. */
const BASE = `docker.io/library/node:${NODE_MAJOR}-bookworm-slim`;

const USER_ID = 1024;

/** The Dockerfile of an artifact. Its context is the folder of the artifact. */
export function dockerfileOf({ name, settings, install }: Lockfile): string {
  return `FROM ${BASE} AS dependencies
WORKDIR /app
COPY ${['package.json', name, ...settings].join(' ')} ./
RUN ${install}

FROM ${BASE}
RUN groupadd --gid ${USER_ID} dynamo && useradd --uid ${USER_ID} --gid dynamo --create-home dynamo
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
COPY . .
USER ${USER_ID}:${USER_ID}
ENV NODE_ENV=production DYNAMO_HOST=0.0.0.0
ENTRYPOINT ["node", "node_modules/dynamo-node/dist/cli/main.js"]
CMD ["serve", "."]
`;
}

/** How a builder is called. */
export interface BuilderOptions {
  /** @default the first one that answers */
  readonly builder?: Builder;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Gets the output of the builder. */
  readonly write: (text: string) => void;
}

interface Outcome {
  /** Undefined if the program is not installed. */
  readonly code: number | undefined;
  readonly output: string;
}

const MAX_KEPT_CHARACTERS = 4000;

/** Runs a builder to its end. Its output goes to `write`, and its end is kept for a message. */
async function run(program: Builder, args: readonly string[], { env, write }: BuilderOptions): Promise<Outcome> {
  const child = spawn(program, args, { env: env as NodeJS.ProcessEnv, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-MAX_KEPT_CHARACTERS);
      write(text);
    });
  try {
    const [code] = (await once(child, 'close')) as [number | null];
    return { code: code ?? 1, output };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { code: undefined, output };
    throw error;
  }
}

const quiet = (options: BuilderOptions): BuilderOptions => ({ ...options, write: () => {} });

/** The question that only a builder answers that can build now: docker needs its daemon. */
const PROBE: Readonly<Record<Builder, readonly string[]>> = {
  docker: ['version', '--format', '{{.Server.Version}}'],
  podman: ['info', '--format', '{{.Version.Version}}'],
  buildah: ['--version'],
};

/**
 * The builder that was asked for, or the first one that answers.
 *
 * @throws DeployError `E_NO_BUILDER` (69) that says what each one answered
 */
export async function findBuilder(options: BuilderOptions): Promise<Builder> {
  const answers: string[] = [];
  for (const builder of options.builder === undefined ? BUILDERS : [options.builder]) {
    const { code, output } = await run(builder, PROBE[builder], quiet(options));
    if (code === 0) return builder;
    const [line = ''] = output.trim().split('\n').slice(-1);
    answers.push(`${builder}: ${code === undefined ? 'not installed' : line}`);
  }
  throw new DeployError('E_NO_BUILDER', `no image builder is available (${answers.join('; ')})`, {
    exitCode: 69,
    hint: 'Install docker, podman or buildah, or write the artifact as an OCI layout: --oci DIR.',
  });
}

async function mustRun(builder: Builder, args: readonly string[], options: BuilderOptions): Promise<void> {
  const { code, output } = await run(builder, args, options);
  if (code === 0) return;
  const last = output.trim().split('\n').slice(-5).join('\n');
  throw new DeployError('E_BUILDER_FAILED', `${builder} ${args[0]} failed with exit code ${code}:\n${last}`);
}

/**
 * Builds the image of an artifact.
 *
 * @throws DeployError `E_BUILDER_FAILED` (1) with the last lines of the builder
 */
export function buildImage(
  builder: Builder,
  folder: string,
  reference: string,
  options: BuilderOptions,
): Promise<void> {
  return mustRun(builder, ['build', '-t', reference, '-f', `${folder}/${DOCKERFILE}`, folder], options);
}

/**
 * Pushes an image to its registry.
 *
 * @throws DeployError `E_BUILDER_FAILED` (1) with the last lines of the builder
 */
export function pushImage(builder: Builder, reference: string, options: BuilderOptions): Promise<void> {
  return mustRun(builder, ['push', reference], options);
}
