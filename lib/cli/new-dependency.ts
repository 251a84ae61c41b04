import { readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { packageVersion } from './version.js';

const NAME = 'dynamo-node';
const KINDS = ['dependencies', 'devDependencies', 'optionalDependencies'];

/** What the package.json of a folder names as `dynamo-node`. Undefined without one, and for one that is not valid. */
function specIn(folder: string): string | undefined {
  try {
    const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Record<string, never>;
    const specs = KINDS.map((kind) => (manifest[kind] as Record<string, unknown> | undefined)?.[NAME]);
    return specs.find((one) => typeof one === 'string') as string | undefined;
  } catch {
    return undefined;
  }
}

const fileSpec = (project: string, path: string): string => `file:${relative(project, path).split(sep).join('/')}`;

/**
 * What a new project names as `dynamo-node`: the checkout that runs the command, or the file from which this
 * installation comes if the nearest package.json that depends on it names a file, else the version.
 *
 * @param packageFolder the folder of this installation
 * @param project the folder of the new project, to which the path is relative
 */
export function dependencyOf(packageFolder: string, project: string): string {
  if (!packageFolder.split(sep).includes('node_modules')) return fileSpec(project, packageFolder);
  for (let folder = dirname(packageFolder), below = packageFolder; folder !== below; ) {
    const spec = specIn(folder);
    if (spec?.startsWith('file:~')) return spec;
    if (spec?.startsWith('file:')) {
      const path = spec.slice('file:'.length).replace(/^\/{2,}/, '/');
      return fileSpec(project, resolve(folder, path));
    }
    if (spec !== undefined) break;
    [folder, below] = [dirname(folder), folder];
  }
  return `^${packageVersion()}`;
}
