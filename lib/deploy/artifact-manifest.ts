import { posix } from 'node:path';
import { LineCounter, parseDocument } from 'yaml';

import { hasControl, wrongType } from '../check.js';
import { badArgument } from '../errors.js';
import { custom, listOf, nested, type OptionTable, oneOf, optionTable } from '../options.js';
import { checkGraphSpec, type GraphSpec } from '../sdk/graph-spec.js';
import { DeployError } from './deploy-error.js';
import { toYaml } from './yaml.js';

/** The version of the format of `dynamo.yaml`. */
export const ARTIFACT_SCHEMA = 'dynamo-node.artifact/v1';

/** The name of the manifest in the folder of an artifact. */
export const MANIFEST_FILE = 'dynamo.yaml';

/** One file of an artifact besides its manifest. */
export interface ManifestFile {
  /** From the folder of the artifact, with `/` between folders. */
  readonly path: string;
  /** 64 hexadecimal digits. */
  readonly sha256: string;
}

/** The versions that an artifact runs with. */
export interface ArtifactRuntime {
  /** Of Dynamo's crates. */
  readonly dynamo: string;
  /** The major version of Node.js in the image. */
  readonly node: string;
}

/** The content of `dynamo.yaml`. */
export interface ArtifactManifest {
  readonly schema: typeof ARTIFACT_SCHEMA;
  readonly name: string;
  /** The first 8 digits of `digest`, unless a tag replaced them. */
  readonly version: string;
  /** The SHA-256 of the content, independent of the name: 64 hexadecimal digits. */
  readonly digest: string;
  /** The module of the graph, such as `src/graph.js`. */
  readonly entry: string;
  /** The export of the graph, if its module has several. */
  readonly export?: string;
  readonly runtime: ArtifactRuntime;
  /** What made JavaScript of TypeScript, with its version. */
  readonly transpiler: string;
  readonly graph: GraphSpec;
  /** Sorted by path. */
  readonly files: readonly ManifestFile[];
}

const NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const VERSION = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/;
const MAX_NAME_CHARACTERS = 63;

const matching = (expected: string, matches: (value: string) => boolean) =>
  custom<string>(expected, (path, value) => {
    if (typeof value !== 'string' || !matches(value)) wrongType(path, expected, value);
  });

/** Whether a text can be the name of an artifact and of a deployment: a DNS label. */
export const isArtifactName = (name: string): boolean => NAME.test(name) && name.length <= MAX_NAME_CHARACTERS;

/** A name of a graph or a folder as a DNS label: `My Graph` is `my-graph`. */
export function artifactName(name: string): string {
  return name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, MAX_NAME_CHARACTERS)
    .replace(/-+$/, '');
}

/** The end of the name of a folder that is being written, or replaced. */
const UNFINISHED = /\.part(\.old)?$/;

/** Whether a text can be the version of an artifact and the tag of an image. */
export const isArtifactVersion = (version: string): boolean =>
  VERSION.test(version) && version.length <= 128 && !UNFINISHED.test(version);

/** The words for `isArtifactName`. */
export const ARTIFACT_NAME = `a name of a-z, 0-9 and -, at most ${MAX_NAME_CHARACTERS} characters`;

/** The words for `isArtifactVersion`. */
export const ARTIFACT_VERSION = 'a version of letters, digits, _, . and -, at most 128 characters, not ending in .part';

const printable = matching('text without control characters', (value) => !hasControl(value));

/** Whether a path stays in the folder that it is relative to, and has only one spelling. */
function isSafePath(path: string): boolean {
  if (path === '' || path === '.' || hasControl(path) || path.includes('\\') || /^[A-Za-z]:/.test(path)) return false;
  return (
    !posix.isAbsolute(path) && posix.normalize(path) === path && path.split('/')[0] !== '..' && !path.endsWith('/')
  );
}

const safePath = matching('a relative path without .., with / between folders', isSafePath);
const sha256 = matching('a SHA-256 of 64 hexadecimal digits', (value) => /^[0-9a-f]{64}$/.test(value));

const FILE: OptionTable<ManifestFile> = optionTable<ManifestFile>({
  path: safePath.required(),
  sha256: sha256.required(),
});

const RUNTIME: OptionTable<ArtifactRuntime> = optionTable<ArtifactRuntime>({
  dynamo: printable.required(),
  node: printable.required(),
});

const MANIFEST: OptionTable<ArtifactManifest> = optionTable<ArtifactManifest>({
  schema: oneOf(ARTIFACT_SCHEMA).required(),
  name: matching(ARTIFACT_NAME, isArtifactName).required(),
  version: matching(ARTIFACT_VERSION, isArtifactVersion).required(),
  digest: sha256.required(),
  entry: safePath.required(),
  export: printable,
  runtime: nested(RUNTIME).required(),
  transpiler: printable.required(),
  graph: custom<GraphSpec>('a graph', checkGraphSpec).required(),
  files: listOf(nested(FILE)).required(),
});

/** The text of `dynamo.yaml`. */
export function formatManifest(manifest: ArtifactManifest): string {
  return toYaml(manifest);
}

/**
 * Reads the text of a `dynamo.yaml`.
 *
 * @param path the name of the file in messages
 * @throws DeployError `E_BAD_ARTIFACT` (65) that names the field
 */
export function parseManifest(path: string, content: string): ArtifactManifest {
  try {
    const lineCounter = new LineCounter();
    // A pretty error would quote the file.
    const document = parseDocument(content, { schema: 'core', merge: false, lineCounter, prettyErrors: false });
    const [fault] = document.errors;
    if (fault !== undefined) {
      const { line, col } = lineCounter.linePos(fault.pos[0]);
      throw badArgument(new TypeError(`line ${line}, column ${col}: ${fault.message}`));
    }
    const manifest: unknown = document.toJS({ maxAliasCount: 0 });
    MANIFEST.check('dynamo.yaml', manifest);
    const paths = manifest.files.map((file) => file.path);
    const seen = new Set<string>([MANIFEST_FILE]);
    const double = paths.find((one) => seen.size === seen.add(one).size);
    if (double !== undefined)
      throw badArgument(new TypeError(`dynamo.yaml.files: expected different paths, got '${double}' again`));
    if (!paths.includes(manifest.entry))
      throw badArgument(new TypeError(`dynamo.yaml.entry: expected one of its files, got '${manifest.entry}'`));
    return manifest;
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new DeployError('E_BAD_ARTIFACT', `${path}: ${message}`, { exitCode: 65, path, cause });
  }
}
