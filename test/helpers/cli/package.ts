import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { addonFile, execute, root } from '../project.js';

const compiler = join(root, 'node_modules/typescript/bin/tsc');

/** Writes the package as it is published, from the sources: `dist`, its manifest, and the addon as a link. */
export async function writePackage(folder: string): Promise<void> {
  // Emits also if a type is wrong, which is not what these tests are about.
  const compile = (...args: string[]) => execute(process.execPath, [compiler, ...args], { cwd: root }).catch(() => {});
  await compile('--outDir', join(folder, 'dist'));
  await compile('-p', 'lib/dashboard/page/browser', '--outDir', join(folder, 'dist/dashboard'));
  await cp(join(root, 'lib/dashboard/page'), join(folder, 'lib/dashboard/page'), { recursive: true });
  await writeFile(join(folder, 'package.json'), await readFile(join(root, 'package.json')));
  await mkdir(join(folder, 'build/Release'), { recursive: true });
  await symlink(addonFile(), join(folder, 'build/Release/dynamo_node.node'));
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
}

/** Installs a package and dependencies of this repository into a project, as links. */
export async function install(project: string, packageFolder: string, names: readonly string[]): Promise<void> {
  const ofRepository = names.map((name) => [name, join(root, 'node_modules', name)] as const);
  for (const [name, target] of [['dynamo-node', packageFolder] as const, ...ofRepository]) {
    const link = join(project, 'node_modules', name);
    await mkdir(dirname(link), { recursive: true });
    await symlink(target, link);
  }
}
