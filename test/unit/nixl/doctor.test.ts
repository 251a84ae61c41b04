import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import type { NixlReport } from '../../../lib/nixl/diagnosis/doctor.js';
import { formatNixlReport } from '../../../lib/nixl/diagnosis/format.js';
import { copiesOfUcx, mappedFiles, readSystem } from '../../../lib/nixl/diagnosis/system.js';

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nixl-doctor-'));
});

afterEach(() => rmSync(root, { recursive: true }));

function file(path: string, content = ''): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), content);
}

function link(path: string, target: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  symlinkSync(target, join(root, path));
}

const limits = (soft: string): string =>
  [
    'Limit                     Soft Limit           Hard Limit           Units',
    `Max locked memory         ${soft}              unlimited            bytes\n`,
  ].join('\n');

/** A machine with one adapter, and nothing missing. */
function withAdapter(): void {
  file('proc/self/limits', limits('unlimited'));
  file('sys/class/infiniband_verbs/abi_version', '6');
  file('sys/class/infiniband/mlx5_0/ports/1/state', '4: ACTIVE\n');
  file('sys/class/infiniband/mlx5_0/ports/1/link_layer', 'InfiniBand\n');
  file('sys/class/infiniband/mlx5_0/device/infiniband_verbs/uverbs0/ibdev', 'mlx5_0');
  file('dev/infiniband/uverbs0');
}

describe('readSystem', () => {
  it('reports an adapter with its port, and nothing missing', () => {
    withAdapter();
    const { rdma, memlock } = readSystem(root);
    expect(rdma).toEqual({
      devices: [
        {
          name: 'mlx5_0',
          file: '/dev/infiniband/uverbs0',
          ports: [{ port: 1, state: 'ACTIVE', linkLayer: 'InfiniBand' }],
        },
      ],
      missing: [],
    });
    expect(memlock).toEqual({ softBytes: Infinity, hardBytes: Infinity });
  });

  it('names device, driver and memlock if there is no adapter', () => {
    file('proc/self/limits', limits('65536'));
    const { missing } = readSystem(root).rdma;
    expect(missing.map((reason) => reason.split(':')[0])).toEqual(['device', 'driver', 'memlock']);
    expect(missing[2]).toContain('65536 bytes');
  });

  it('reports an adapter that the container may not open, with its port down', () => {
    withAdapter();
    rmSync(join(root, 'dev/infiniband'), { recursive: true });
    file('sys/class/infiniband/mlx5_0/ports/1/state', '1: DOWN\n');
    const { devices, missing } = readSystem(root).rdma;
    expect(devices[0]?.file).toBeUndefined();
    expect(missing.map((reason) => reason.split(':')[0])).toEqual(['device', 'port']);
    expect(missing[0]).toContain('mlx5_0');
  });

  it('accepts a driver that is a loaded module', () => {
    withAdapter();
    rmSync(join(root, 'sys/class/infiniband_verbs'), { recursive: true });
    file('proc/modules', 'ib_uverbs 180224 2 rdma_ucm,mlx5_ib, Live 0x0\n');
    expect(readSystem(root).rdma.missing).toEqual([]);
  });

  it.each([
    ['0', 'off'],
    ['1', 'strict'],
    ['2', 'filter'],
  ])('reports seccomp %s as %s', (mode, name) => {
    file('proc/self/status', `Name:\tnode\nSeccomp:\t${mode}\nSeccomp_filters:\t1\n`);
    expect(readSystem(root).seccomp).toBe(name);
  });

  it('reports a separate PID namespace, and Yama', () => {
    link('proc/self/ns/pid', 'pid:[4026532281]');
    file('proc/sys/kernel/yama/ptrace_scope', '1\n');
    expect(readSystem(root)).toMatchObject({ ownPidNamespace: true, ptraceScope: 1 });
  });

  it('reports the first PID namespace, and no Yama', () => {
    link('proc/self/ns/pid', 'pid:[4026531836]');
    expect(readSystem(root)).toMatchObject({ ownPidNamespace: false, ptraceScope: undefined, seccomp: 'unknown' });
  });
});

describe('copiesOfUcx', () => {
  const maps = (...paths: string[]): string[] => {
    file(
      'proc/self/maps',
      paths
        .map((path, index) => `7f00000${index}000-7f00000${index}fff r-xp 00000000 08:01 12 ${' '.repeat(10)}${path}\n`)
        .join(''),
    );
    return mappedFiles(root);
  };

  it('returns nothing for one copy that is mapped in parts', () => {
    const files = maps(
      '/w/libs/libucs-14c2.so.0.0.0',
      '/w/libs/libucs-14c2.so.0.0.0',
      '/w/libs/libucp-b39b.so.0.0.0',
      '/w/libs/ucx/libuct_cma.so.0.0.0',
    );
    expect(files).toHaveLength(3);
    expect(copiesOfUcx(files)).toEqual([]);
  });

  it('returns both files of a second copy', () => {
    const files = maps('/w/libs/libucs-14c2.so.0.0.0', '/usr/lib/libucs.so.0.0.0', '/w/libs/libucp-b39b.so.0.0.0');
    expect(copiesOfUcx(files)).toEqual(['/usr/lib/libucs.so.0.0.0', '/w/libs/libucs-14c2.so.0.0.0']);
  });
});

describe('formatNixlReport', () => {
  const system = {
    rdma: { devices: [], missing: ['device: there is none'] },
    memlock: { softBytes: 8 * 2 ** 20, hardBytes: Infinity },
    ownPidNamespace: true,
    seccomp: 'filter',
    ptraceScope: 1,
    sharedMemoryBytes: 2 ** 26,
  } as const;
  const report: NixlReport = {
    ok: false,
    kind: 'real',
    path: '/w/libnixl_capi.so',
    version: '1.5.1',
    tried: [],
    features: { memView: ['nixl_capi_release_mem_view'], cost: [] },
    plugins: [
      { name: 'UCX', loads: true, reason: '' },
      { name: 'GDS', loads: false, reason: 'libcudart.so.12: cannot open' },
    ],
    ucx: {
      folder: '/w/libs',
      modules: [
        { name: 'uct_cma', loaded: true, reason: '' },
        { name: 'uct_cuda', loaded: false, reason: 'libcuda.so.1: cannot open' },
      ],
      copies: [],
    },
    cuda: { available: false, reason: 'no CUDA driver', driverVersion: 0, devices: [] },
    system,
    processVm: { allowed: false, reason: 'EPERM' },
    problems: [{ what: 'processes may not read each other', fix: 'set ptrace_scope' }],
  };

  it('names what loads, what does not load and why, and the problems', () => {
    const text = formatNixlReport(report);
    const parts = [
      '1.5.1, /w/libnixl_capi.so',
      'lacks memView',
      'GDS does not load: libcudart.so.12',
      'modules uct_cma',
      'uct_cuda is not loaded: libcuda.so.1',
    ];
    parts.push(
      'no CUDA driver',
      'device: there is none',
      '8.0 MiB',
      'may not read each other: EPERM, in a separate PID namespace, seccomp filter',
      '64.0 MiB',
      '! processes may',
      'set ptrace_scope',
    );
    for (const part of parts) expect(text).toContain(part);
  });

  it('lists the places where a missing library was searched', () => {
    const text = formatNixlReport({
      ...report,
      kind: 'none',
      path: '',
      tried: [{ path: '/opt/nvidia', reason: 'no libnixl_capi.so there' }],
      problems: [],
    });
    expect(text).toContain('/opt/nvidia: no libnixl_capi.so there');
    expect(text).toContain('No problems found.');
  });
});
