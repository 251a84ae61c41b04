import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync, statfsSync } from 'node:fs';
import { join } from 'node:path';

/** A port of an RDMA device. */
export interface RdmaPort {
  readonly port: number;
  /** Such as `ACTIVE` or `DOWN`. */
  readonly state: string;
  /** `InfiniBand` or `Ethernet`. */
  readonly linkLayer: string;
}

/** An RDMA device, as the kernel lists it. */
export interface RdmaDevice {
  readonly name: string;
  /** The file that programs open, such as `/dev/infiniband/uverbs0`; undefined where there is none here. */
  readonly file: string | undefined;
  readonly ports: readonly RdmaPort[];
}

/** What there is of RDMA on this machine. */
export interface RdmaReport {
  /** From `/sys/class/infiniband`. */
  readonly devices: readonly RdmaDevice[];
  /** What stands in the way of RDMA, in order: device, driver, module, port, memlock. Empty where nothing is known to. */
  readonly missing: readonly string[];
}

/** What the machine and its container allow. */
export interface SystemReport {
  readonly rdma: RdmaReport;
  /** How much memory may be locked, which RDMA and registered memory need. `Infinity` for no limit. */
  readonly memlock: { readonly softBytes: number; readonly hardBytes: number };
  /** Whether this process lives in a PID namespace of its own: processes of other namespaces cannot be reached by CMA. */
  readonly ownPidNamespace: boolean;
  /** `filter` is what containers do: a filter may forbid process_vm_readv. */
  readonly seccomp: 'off' | 'strict' | 'filter' | 'unknown';
  /** Of Yama: 0 any process of the user may be reached, 1 only children, 2 with CAP_SYS_PTRACE, 3 none; undefined without Yama. */
  readonly ptraceScope: number | undefined;
  readonly sharedMemoryBytes: number;
}

/** The inode of the first PID namespace, the same on every machine. */
const FIRST_PID_NAMESPACE = 'pid:[4026531836]';
const SECCOMP = ['off', 'strict', 'filter'] as const;
/** Less locked memory than this does not hold the queues of one connection and a block. */
const LEAST_MEMLOCK = 64 * 2 ** 20;

const read = (path: string): string => {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
};

const list = (path: string): string[] => {
  try {
    return readdirSync(path).sort();
  } catch {
    return [];
  }
};

const limitOf = (text: string | undefined): number => (text === 'unlimited' ? Infinity : Number(text ?? 0));

function memlock(root: string): SystemReport['memlock'] {
  const [, soft, hard] = /^Max locked memory\s+(\S+)\s+(\S+)/m.exec(read(join(root, 'proc/self/limits'))) ?? [];
  return { softBytes: limitOf(soft), hardBytes: limitOf(hard) };
}

function rdmaDevice(root: string, name: string): RdmaDevice {
  const folder = join(root, 'sys/class/infiniband', name);
  const ports = list(join(folder, 'ports')).map((port) => ({
    port: Number(port),
    state: read(join(folder, 'ports', port, 'state')).replace(/^\d+:\s*/, ''),
    linkLayer: read(join(folder, 'ports', port, 'link_layer')),
  }));
  const uverbs = list(join(folder, 'device/infiniband_verbs'))[0];
  const file = uverbs === undefined ? undefined : `/dev/infiniband/${uverbs}`;
  return { name, file: file !== undefined && existsSync(join(root, file)) ? file : undefined, ports };
}

function rdma(root: string, locked: SystemReport['memlock']): RdmaReport {
  const devices = list(join(root, 'sys/class/infiniband')).map((name) => rdmaDevice(root, name));
  const missing: string[] = [];
  const hasDriver =
    existsSync(join(root, 'sys/class/infiniband_verbs')) || /^ib_uverbs /m.test(read(join(root, 'proc/modules')));
  if (devices.length === 0) missing.push('device: there is no RDMA device (/sys/class/infiniband names none)');
  if (!hasDriver)
    missing.push('driver: the kernel has not loaded ib_uverbs, through which programs reach RDMA devices');
  if (devices.length > 0) {
    const closed = devices.filter(({ file }) => file === undefined).map(({ name }) => name);
    if (closed.length > 0)
      missing.push(
        `device: ${closed.join(', ')} cannot be opened here (no file in /dev/infiniband; give it to the container)`,
      );
    if (!devices.some(({ ports }) => ports.some(({ state }) => state === 'ACTIVE')))
      missing.push('port: no port of an RDMA device is active');
  }
  if (locked.softBytes < LEAST_MEMLOCK)
    missing.push(`memlock: only ${locked.softBytes} bytes may be locked (ulimit -l unlimited, or --ulimit memlock=-1)`);
  return { devices, missing };
}

/** @internal What the files of /proc and /sys below `root` say. */
export function readSystem(root = '/'): SystemReport {
  const status = read(join(root, 'proc/self/status'));
  const locked = memlock(root);
  const scope = read(join(root, 'proc/sys/kernel/yama/ptrace_scope'));
  let namespace = FIRST_PID_NAMESPACE;
  try {
    namespace = readlinkSync(join(root, 'proc/self/ns/pid'));
  } catch {
    // Without /proc nothing is known, and nothing is claimed.
  }
  const shared = join(root, 'dev/shm');
  const space = existsSync(shared) ? statfsSync(shared) : undefined;
  return {
    rdma: rdma(root, locked),
    memlock: locked,
    ownPidNamespace: namespace !== FIRST_PID_NAMESPACE,
    seccomp: SECCOMP[Number(/^Seccomp:\s+(\d)/m.exec(status)?.[1] ?? -1)] ?? 'unknown',
    ptraceScope: scope === '' ? undefined : Number(scope),
    sharedMemoryBytes: space === undefined ? 0 : space.blocks * space.bsize,
  };
}

/** @internal The files that a process has mapped, once each. */
export function mappedFiles(root = '/'): string[] {
  const paths = [...read(join(root, 'proc/self/maps')).matchAll(/\s(\/\S+)$/gm)].map(([, path]) => path as string);
  return [...new Set(paths)];
}

/**
 * @internal The files of UCX's libraries where one of them is there more than once: copies that do not know of each other
 * both hook the memory functions of the process.
 */
export function copiesOfUcx(files: readonly string[]): string[] {
  const byLibrary = new Map<string, Set<string>>();
  for (const file of files) {
    const library = /\/(libuc[mpst])(-[0-9a-f]+)?\.so[.\d]*$/.exec(file)?.[1];
    if (library === undefined) continue;
    const known = byLibrary.get(library) ?? new Set();
    known.add(existsSync(file) ? realpathSync(file) : file);
    byLibrary.set(library, known);
  }
  return [...byLibrary.values()]
    .filter(({ size }) => size > 1)
    .flatMap((copies) => [...copies])
    .sort();
}
