import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync, statfsSync } from 'node:fs';
import { join } from 'node:path';

/** A port of an RDMA device. */
export interface RdmaPort {
  readonly port: number;
  /** For example `ACTIVE` or `DOWN`. */
  readonly state: string;
  /** `InfiniBand` or `Ethernet`. */
  readonly linkLayer: string;
}

/** An RDMA device that the kernel lists. */
export interface RdmaDevice {
  readonly name: string;
  /** The file that programs open, such as `/dev/infiniband/uverbs0`. Undefined if it does not exist here. */
  readonly file: string | undefined;
  readonly ports: readonly RdmaPort[];
}

/** The state of RDMA on this machine. */
export interface RdmaReport {
  /** From `/sys/class/infiniband`. */
  readonly devices: readonly RdmaDevice[];
  /** What RDMA lacks, in order: device, driver, module, port, memlock. Empty if nothing is known to be missing. */
  readonly missing: readonly string[];
}

/** The limits that the machine and its container set. */
export interface SystemReport {
  readonly rdma: RdmaReport;
  /** How much memory may be locked. RDMA and registered memory need it. `Infinity` for no limit. */
  readonly memlock: { readonly softBytes: number; readonly hardBytes: number };
  /** True if this process runs in a separate PID namespace. CMA cannot reach processes of other namespaces. */
  readonly ownPidNamespace: boolean;
  /** Containers use `filter`: a filter may forbid process_vm_readv. */
  readonly seccomp: 'off' | 'strict' | 'filter' | 'unknown';
  /**
   * Yama's setting, undefined without Yama. Processes that may be reached: 0 all of the user, 1 only children, 2 only
   * with CAP_SYS_PTRACE, 3 none.
   */
  readonly ptraceScope: number | undefined;
  readonly sharedMemoryBytes: number;
}

/** The inode of the first PID namespace, the same on every machine. */
const FIRST_PID_NAMESPACE = 'pid:[4026531836]';
const SECCOMP = ['off', 'strict', 'filter'] as const;
/** The queues of one connection and one block need this much locked memory. */
const MIN_MEMLOCK_BYTES = 64 * 2 ** 20;

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

const limitBytes = (text: string | undefined): number => (text === 'unlimited' ? Infinity : Number(text ?? 0));

function memlock(root: string): SystemReport['memlock'] {
  const [, soft, hard] = /^Max locked memory\s+(\S+)\s+(\S+)/m.exec(read(join(root, 'proc/self/limits'))) ?? [];
  return { softBytes: limitBytes(soft), hardBytes: limitBytes(hard) };
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
  if (devices.length === 0) missing.push('device: there is no RDMA device (/sys/class/infiniband lists none)');
  if (!hasDriver) missing.push('driver: the kernel has not loaded ib_uverbs, which programs need to use RDMA devices');
  if (devices.length > 0) {
    const closed = devices.filter(({ file }) => file === undefined).map(({ name }) => name);
    if (closed.length > 0)
      missing.push(
        `device: ${closed.join(', ')} cannot be opened here: add the file in /dev/infiniband to the container`,
      );
    if (!devices.some(({ ports }) => ports.some(({ state }) => state === 'ACTIVE')))
      missing.push('port: no port of an RDMA device is active');
  }
  if (locked.softBytes < MIN_MEMLOCK_BYTES)
    missing.push(`memlock: only ${locked.softBytes} bytes may be locked (ulimit -l unlimited, or --ulimit memlock=-1)`);
  return { devices, missing };
}

/** @internal Reads the files of /proc and /sys below `root`. */
export function readSystem(root = '/'): SystemReport {
  const status = read(join(root, 'proc/self/status'));
  const locked = memlock(root);
  const scope = read(join(root, 'proc/sys/kernel/yama/ptrace_scope'));
  let namespace = FIRST_PID_NAMESPACE;
  try {
    namespace = readlinkSync(join(root, 'proc/self/ns/pid'));
  } catch {
    // Without /proc the namespace is not known: report the first one.
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

/** @internal The files that this process has mapped, each once. */
export function mappedFiles(root = '/'): string[] {
  const paths = [...read(join(root, 'proc/self/maps')).matchAll(/\s(\/\S+)$/gm)].map(([, path]) => path as string);
  return [...new Set(paths)];
}

/**
 * @internal The files of UCX's libraries that are loaded more than once. Copies corrupt each other: each one hooks the
 * memory functions of the process.
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
