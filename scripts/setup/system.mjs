import { existsSync, readdirSync } from 'node:fs';
import { announce, aptInstall } from './apt.mjs';
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
  { name: 'g++', what: 'g++ 12 or newer', present: hasCompiler, why: 'compiles C++' },
  { name: 'make', present: () => which('make'), why: 'starts the native build for node-gyp' },
  { name: 'cmake', present: () => which('cmake'), why: 'configures the native build' },
  { name: 'ninja-build', present: () => which('ninja'), why: 'runs the native build' },
  { name: 'mold', present: () => which('mold'), why: 'links the addon' },
  { name: 'pkg-config', present: () => which('pkg-config'), why: 'finds libraries for Rust crates' },
  { name: 'protobuf-compiler', present: () => which('protoc'), why: 'generates code for the crates of gRPC and etcd' },
  {
    name: 'libprotobuf-dev',
    present: () => existsSync('/usr/include/google/protobuf/descriptor.proto'),
    why: 'has the standard message types',
  },
  { name: 'libclang-dev', present: hasLibclang, why: 'reads C headers for Rust crates' },
  { name: 'python3', present: () => which('python3'), why: 'runs node-gyp and installs NIXL' },
  { name: 'python3-venv', present: hasVenv, why: 'keeps Python packages in the folder .peers' },
];

const testPackages = [
  { name: 'etcd-server', present: () => which('etcd'), service: 'etcd', why: 'is started by tests' },
  { name: 'nats-server', present: () => which('nats-server'), service: 'nats-server', why: 'is started by tests' },
  { name: 'chromium', present: () => which('chromium'), why: 'shows the dashboard to tests' },
  {
    name: 'docker-registry',
    present: () => which('docker-registry'),
    service: 'docker-registry',
    why: 'takes the images of tests',
  },
  { name: 'skopeo', present: () => which('skopeo'), why: 'copies the images of tests' },
  { name: 'umoci', present: () => which('umoci'), why: 'unpacks the images of tests' },
];

const namesOf = (packages) => packages.map(({ name }) => name).join(' ');

/** Installs what is missing. `later` are packages that a later step may install; they are announced with the others. */
export async function installPackages({ test, yes, later = [], policy }) {
  const wanted = test ? [...buildPackages, ...testPackages] : buildPackages;
  const missing = wanted.filter(({ present }) => !present());
  const optional = test ? lintPackages.filter(({ present }) => !present()) : [];
  if (isRoot && which('apt-get')) await announce([...missing, ...optional, ...later], { yes });
  if (missing.length === 0) return installOptional(optional, policy);

  if (!which('apt-get'))
    throw new SetUpError(`Install what these Debian packages contain, then try again: ${namesOf(missing)}`);
  const services = missing.flatMap(({ service }) => service ?? []);
  if (!isRoot) {
    const all = namesOf([...optional, ...missing]);
    const commands = ['apt-get update', `apt-get install -y --no-install-recommends ${all}`];
    if (services.length > 0 && hasSystemd()) commands.push(`systemctl disable --now ${services.join(' ')}`);
    throw new SetUpError(
      `Some packages are missing. Run this, then try again:\n  sudo sh -c '${commands.join(' && ')}'`,
    );
  }

  await aptInstall(missing, { policy });
  await keepStopped(services);

  const still = missing.filter(({ present }) => !present());
  if (still.length > 0)
    throw new SetUpError(`Still missing after installation: ${still.map(({ name, what }) => what ?? name).join(', ')}`);
  await installOptional(optional, policy);
}

/** Installs what only `npm run lint` needs. Tests run without it, so a failure is printed and the set-up continues. */
async function installOptional(packages, policy) {
  if (packages.length === 0 || !which('apt-get')) return;
  const names = namesOf(packages);
  if (!isRoot) return console.log(`set-up: npm run lint also needs: sudo apt-get install ${names}`);
  try {
    await aptInstall(packages, { policy });
  } catch (error) {
    console.log(`set-up: ${names} could not be installed: npm run lint needs them (${error.message})`);
  }
}

/** The tests start their own servers, so the packages' services stay off, also after a restart of the machine. */
async function keepStopped(services) {
  if (services.length === 0 || !hasSystemd()) return;
  await run('systemctl', ['disable', '--now', '--quiet', ...services]);
  console.log(`set-up: the services ${services.join(' and ')} are installed but disabled`);
}
