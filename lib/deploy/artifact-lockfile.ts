import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DeployError } from './deploy-error.js';

/** The lockfile of a project, and how an image installs what it pins. */
export interface Lockfile {
  readonly name: string;
  /** Other files that the installation reads, if the project has them. */
  readonly settings: readonly string[];
  /** The command that installs all but `devDependencies`, in a folder with `package.json` and these files. */
  readonly install: string;
}

/** What a lockfile is read for. Undefined if its version is not supported. */
type Installer = (content: string, packageManager: string) => string | undefined;

const npm: Installer = () => 'npm ci --omit=dev --no-audit --no-fund';

/** The version of pnpm: what package.json pins, else one that reads the lockfile. */
const pnpm: Installer = (content, packageManager) => {
  const [, pinned] = /^pnpm@(\d+\.\d+\.\d+)/.exec(packageManager) ?? [];
  const [, format = ''] = /^lockfileVersion: ['"]?(\d+)/m.exec(content) ?? [];
  const version = pinned ?? ({ '6': '8', '9': '10' } as Readonly<Record<string, string>>)[format];
  return version === undefined ? undefined : `npx --yes pnpm@${version} install --prod --frozen-lockfile`;
};

/** Later versions of yarn have another format, and keep settings in files that may contain secrets. */
const yarn: Installer = (content) =>
  /^# yarn lockfile v1$/m.test(content)
    ? 'npx --yes yarn@1.22.22 install --production --frozen-lockfile --non-interactive'
    : undefined;

const INSTALLERS: Readonly<Record<string, { readonly install: Installer; readonly settings?: readonly string[] }>> = {
  'package-lock.json': { install: npm },
  'npm-shrinkwrap.json': { install: npm },
  'pnpm-lock.yaml': { install: pnpm, settings: ['pnpm-workspace.yaml'] },
  'yarn.lock': { install: yarn },
};

const KNOWN = ['npm', 'pnpm 8 or later', 'yarn 1'].join(', ');
const HINT = 'Write one: npm install --package-lock-only';

/**
 * The lockfile of a project. That of npm is used if there are several.
 *
 * @param packageManager the field of package.json, such as `pnpm@10.4.1`
 * @throws DeployError `E_BAD_PROJECT` (65) without a lockfile, or with one of another program
 */
export async function lockfileOf(root: string, packageManager: unknown): Promise<Lockfile> {
  const fail = (got: string): never => {
    const message = `${root}: expected a lockfile of ${KNOWN}, got ${got}`;
    throw new DeployError('E_BAD_PROJECT', message, { exitCode: 65, path: root, hint: HINT });
  };
  const name = Object.keys(INSTALLERS).find((file) => existsSync(join(root, file)));
  if (name === undefined) {
    const others = ['bun.lock', 'bun.lockb', 'deno.lock'];
    return fail(others.find((file) => existsSync(join(root, file))) ?? 'none');
  }
  const { install, settings = [] } = INSTALLERS[name] as (typeof INSTALLERS)[string];
  const content = await readFile(join(root, name), 'utf8');
  const command = install(content, typeof packageManager === 'string' ? packageManager : '');
  if (command === undefined) return fail(`${name} of another version`);
  return { name, settings: settings.filter((file) => existsSync(join(root, file))), install: command };
}
