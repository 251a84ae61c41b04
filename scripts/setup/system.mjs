import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { isRoot, outputOf, run, SetUpError, which } from './process.mjs';
import { lintPackages } from './tools.mjs';

const hasFile = (folder, pattern) => existsSync(folder) && readdirSync(folder).some((name) => pattern.test(name));

const libclang = /^libclang(-\d+)?\.so/;

function hasLibclang() {
  if (process.env.LIBCLANG_PATH || hasFile('/usr/lib/x86_64-linux-gnu', libclang)) return true;
  return readdirSync('/usr/lib').some((name) => name.startsWith('llvm-') && hasFile(`/usr/lib/${name}/lib`, libclang));
}

const hasCompiler = () => Number.parseInt(outputOf('g++', ['-dumpversion']) ?? '0') >= 12;

const hasSystemd = () => existsSync('/run/systemd/system');

const hasVenv = () => outputOf('python3', ['-c', 'import ensurepip, venv']) !== undefined;

/** The Debian packages that a build needs. `present` finds their content, however it was installed. */
const buildPackages = [
  { name: 'g++', what: 'g++ 12 or newer', present: hasCompiler },
  { name: 'make', present: () => which('make') },
  { name: 'cmake', present: () => which('cmake') },
  { name: 'ninja-build', present: () => which('ninja') },
  { name: 'mold', present: () => which('mold') },
  { name: 'pkg-config', present: () => which('pkg-config') },
  { name: 'protobuf-compiler', present: () => which('protoc') },
  { name: 'libprotobuf-dev', present: () => existsSync('/usr/include/google/protobuf/descriptor.proto') },
  { name: 'libclang-dev', present: hasLibclang },
  { name: 'python3', present: () => which('python3') },
  { name: 'python3-venv', present: hasVenv },
];

const testPackages = [
  { name: 'etcd-server', present: () => which('etcd'), service: 'etcd' },
  { name: 'nats-server', present: () => which('nats-server'), service: 'nats-server' },
];

const apt = ['apt-get', '-y', '--no-install-recommends', '-o', 'Dpkg::Use-Pty=0', 'install'];

export async function installPackages({ test }) {
  const wanted = test ? [...buildPackages, ...testPackages] : buildPackages;
  const missing = wanted.filter(({ present }) => !present());
  const optional = test ? lintPackages.filter(({ present }) => !present()) : [];
  if (missing.length === 0) return installOptional(optional);

  const names = missing.map(({ name }) => name);
  if (!which('apt-get'))
    throw new SetUpError(`Install what these Debian packages contain, then try again: ${names.join(' ')}`);
  const services = missing.flatMap(({ service }) => service ?? []);
  if (!isRoot) {
    const all = [...optional.map(({ name }) => name), ...names].join(' ');
    const commands = ['apt-get update', `apt-get install -y --no-install-recommends ${all}`];
    if (services.length > 0 && hasSystemd()) commands.push(`systemctl disable --now ${services.join(' ')}`);
    throw new SetUpError(
      `Some packages are missing. Run this, then try again:\n  sudo sh -c '${commands.join(' && ')}'`,
    );
  }

  console.log(`set-up: installing ${names.join(' ')}`);
  await aptInstall(names);
  await keepStopped(services);

  const still = missing.filter(({ present }) => !present());
  if (still.length > 0)
    throw new SetUpError(`Still missing after installation: ${still.map(({ name, what }) => what ?? name).join(', ')}`);
  await installOptional(optional);
}

/** Installs what only `npm run lint` needs. Tests run without it, so a failure is printed and the set-up continues. */
async function installOptional(packages) {
  if (packages.length === 0 || !which('apt-get')) return;
  const names = packages.map(({ name }) => name).join(' ');
  if (!isRoot) return console.log(`set-up: npm run lint also needs: sudo apt-get install ${names}`);
  console.log(`set-up: installing ${names}`);
  try {
    await aptInstall(names.split(' '));
  } catch (error) {
    console.log(`set-up: ${names} could not be installed: npm run lint needs them (${error.message})`);
  }
}

/** Installs packages without starting the services among them. */
export async function aptInstall(names) {
  const policy = '/usr/sbin/policy-rc.d';
  const ours = !existsSync(policy);
  if (ours) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  try {
    await run('apt-get', ['-qq', 'update'], { env });
    await run(apt[0], [...apt.slice(1), '-qq', ...names], { env });
  } finally {
    if (ours) rmSync(policy);
  }
}

/** The tests start their own servers, so the packages' services stay off, also after a restart of the machine. */
async function keepStopped(services) {
  if (services.length === 0 || !hasSystemd()) return;
  await run('systemctl', ['disable', '--now', '--quiet', ...services]);
  console.log(`set-up: the services ${services.join(' and ')} are installed but disabled`);
}
