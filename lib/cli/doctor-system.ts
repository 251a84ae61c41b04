import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { findContainment } from '../deploy/local/containment.js';
import { readSystem } from '../nixl/diagnosis/system.js';
import { type CheckContext, type DoctorCheck, okOr, outputOf } from './doctor-check.js';
import { CRATES, packageVersion } from './version.js';

const MIN_NODE = [20, 3] as const;
const MIN_FILES = 4096;
const HTTP_PORT = 8000;

/** Programs that build the addon in a checkout, with the argument that shows their version. */
const BUILD_TOOLS = ['rustc', 'cmake', 'ninja', 'protoc', 'g++'] as const;

/** Node.js, and the system that it runs on. */
export function checkNode(): DoctorCheck {
  const { platform, arch, versions } = process;
  const [major = 0, minor = 0] = versions.node.split('.').map(Number);
  const isOld = major < MIN_NODE[0] || (major === MIN_NODE[0] && minor < MIN_NODE[1]);
  const found = `${versions.node} on ${platform} ${arch}`;
  return { name: 'Node.js', found, ...okOr(!isOld, 'error', `install Node.js ${MIN_NODE.join('.')} or newer`) };
}

/** The addon of this package. */
export async function checkAddon(): Promise<DoctorCheck> {
  const crates = Object.entries(CRATES).map(([name, version]) => `${name} ${version}`);
  try {
    await import('../addon/load.js');
  } catch (error) {
    return {
      name: 'addon',
      status: 'error',
      found: (error as Error).message,
      fix: 'use a supported platform, and reinstall the package; graph, build and help work without the addon',
    };
  }
  return { name: 'addon', status: 'ok', found: `dynamo-node ${packageVersion()} loads; ${crates.join(', ')}` };
}

/** What runs graphs in TypeScript. */
export function checkTypeScript({ cwd }: CheckContext): DoctorCheck {
  for (const from of [join(cwd, 'package.json'), import.meta.url]) {
    try {
      const { version } = createRequire(from)('tsx/package.json') as { version: string };
      return { name: 'TypeScript', status: 'ok', found: `tsx ${version} runs graphs in TypeScript` };
    } catch {
      // Not installed there.
    }
  }
  return {
    name: 'TypeScript',
    status: 'absent',
    found: 'tsx is not installed in this folder',
    fix: 'npm install --save-dev tsx, or name compiled .js files',
  };
}

/** What builds the addon in a checkout. The package contains it. */
export async function checkBuildTools(context: CheckContext): Promise<DoctorCheck> {
  const versions = await Promise.all(BUILD_TOOLS.map((tool) => outputOf(tool, ['--version'], context)));
  const found = BUILD_TOOLS.flatMap((tool, index) => {
    const version = /\d+(\.\d+)+/.exec(versions[index] ?? '')?.[0];
    return version === undefined ? [] : [`${tool} ${version}`];
  });
  const missing = BUILD_TOOLS.filter((_, index) => versions[index] === undefined);
  const fix = `only a checkout is built: npm run setup installs ${missing.join(', ')}`;
  return { name: 'toolchain', found: found.join(', ') || 'none', ...okOr(missing.length === 0, 'absent', fix) };
}

/** GPUs and their driver. */
export async function checkGpus(context: CheckContext): Promise<DoctorCheck> {
  const query = ['--query-gpu=name,memory.total,driver_version', '--format=csv,noheader'];
  const output = await outputOf('nvidia-smi', query, context);
  if (output === undefined)
    return {
      name: 'GPUs',
      status: 'absent',
      found: 'nvidia-smi is not there, or fails',
      fix: 'install the NVIDIA driver, or start the container with --gpus all; echo and mocker need no GPU',
    };
  const gpus = output.split('\n').filter((line) => line.trim() !== '');
  const visible = context.env['CUDA_VISIBLE_DEVICES'];
  const limited = visible === undefined ? '' : ` (CUDA_VISIBLE_DEVICES=${visible})`;
  if (gpus.length === 0) return { name: 'GPUs', status: 'absent', found: 'none', fix: 'the driver lists no GPU' };
  return { name: 'GPUs', status: 'ok', found: `${gpus.join('; ')}${limited}` };
}

/** The Python engines of Dynamo. */
export async function checkPython(context: CheckContext): Promise<DoctorCheck> {
  const python = context.env['DYN_PYTHON'] || 'python3';
  const script = [
    'import sys, importlib.util as u, importlib.metadata as m',
    'def version(name):',
    '    try: return m.version(name)',
    '    except m.PackageNotFoundError: return None',
    'names = ["ai-dynamo", "vllm", "sglang", "tensorrt-llm"]',
    'found = [f"{n} {version(n)}" for n in names if version(n)]',
    'print(", ".join([sys.version.split()[0]] + found))',
  ].join('\n');
  const output = await outputOf(python, ['-c', script], context);
  const fix = "pip install 'ai-dynamo[vllm]' for out=vllm; $DYN_PYTHON selects the interpreter";
  if (output === undefined)
    return { name: 'Python', status: 'absent', found: `${python} is not there, or is older than 3.8`, fix };
  const hasDynamo = output.includes('ai-dynamo');
  const found = `${python} ${output}${hasDynamo ? '' : ', without ai-dynamo'}`;
  return { name: 'Python', found, ...okOr(hasDynamo, 'absent', fix) };
}

/** The ports that servers have by default. */
export async function checkPorts({ env }: CheckContext): Promise<DoctorCheck[]> {
  const http = Number(env['DYN_HTTP_PORT'] ?? HTTP_PORT);
  const system = Number(env['DYN_SYSTEM_PORT'] ?? -1);
  const ports = [['HTTP port', http, '--http-port'] as const, ['system port', system, '$DYN_SYSTEM_PORT'] as const];
  return Promise.all(
    ports.map(async ([name, port, flag]): Promise<DoctorCheck> => {
      if (port < 0) return { name, status: 'ok', found: 'none is set: there is no status server' };
      const reason = await taken(port);
      const found = reason === undefined ? `${port} is free` : `${port}: ${reason}`;
      return { name, found, ...okOr(reason === undefined, 'warning', `choose another with ${flag}`) };
    }),
  );
}

/** Why a server cannot listen on a port, or undefined. */
function taken(port: number): Promise<string | undefined> {
  if (!Number.isInteger(port) || port > 65535) return Promise.resolve('it is no port');
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) =>
      resolve(error.code === 'EADDRINUSE' ? 'another program listens on it' : (error.code ?? error.message)),
    );
    server.listen(port, () => server.close(() => resolve(undefined)));
  });
}

/** Open files and locked memory. */
export function checkLimits(): DoctorCheck[] {
  let limits = '';
  try {
    limits = readFileSync('/proc/self/limits', 'utf8');
  } catch {
    return [{ name: 'limits', status: 'absent', found: 'not known on this system' }];
  }
  const [, files = '0'] = /^Max open files\s+(\S+)/m.exec(limits) ?? [];
  const isLow = files !== 'unlimited' && Number(files) < MIN_FILES;
  const { memlock, rdma } = readSystem();
  const locked = memlock.softBytes === Number.POSITIVE_INFINITY ? 'unlimited' : `${memlock.softBytes} bytes`;
  const needsLocked = rdma.missing.some((reason) => reason.startsWith('memlock'));
  const lockedFix = 'RDMA needs it: ulimit -l unlimited, or --ulimit memlock=-1 for a container';
  return [
    {
      name: 'open files',
      found: files,
      ...okOr(!isLow, 'warning', `each connection is a file: ulimit -n ${MIN_FILES} or more`),
    },
    {
      name: 'locked memory',
      found: locked,
      ...okOr(!needsLocked, rdma.devices.length > 0 ? 'warning' : 'absent', lockedFix),
    },
  ];
}

/** RDMA devices. */
export function checkRdma(): DoctorCheck {
  const { devices, missing } = readSystem().rdma;
  if (devices.length === 0)
    return {
      name: 'RDMA',
      status: 'absent',
      found: 'no device',
      fix: 'without one, bytes between machines go over TCP',
    };
  const found = devices.map(({ name, ports }) => `${name} ${ports.map(({ state }) => state).join(', ')}`).join('; ');
  return { name: 'RDMA', found, ...okOr(missing.length === 0, 'warning', missing.join('; ')) };
}

/** What ends the processes of a graph if their supervisor is killed. */
export async function checkContainment(): Promise<DoctorCheck> {
  const { lacks } = await findContainment();
  const found = lacks ?? 'setpriv and unshare end workers with their supervisor';
  return {
    name: 'containment',
    found,
    ...okOr(lacks === undefined, 'absent', 'install util-linux, or allow user namespaces'),
  };
}
