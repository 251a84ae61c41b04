import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import { nixlMissing, useTransport } from '../../helpers/nixl/library.js';
import { nixlLibrary } from '../../helpers/nixl/native-suite.js';
import { execute, root } from '../../helpers/project.js';

useTransport('ucx');

const PROGRAMS = join(root, 'test/helpers/nixl/programs');
const NODE = [process.execPath, '--import', 'tsx'];

/** The report of a process that `command` starts under other conditions. */
async function reportUnder(
  command: readonly string[],
  required = 'any',
  env: NodeJS.ProcessEnv = {},
): Promise<Record<string, any>> {
  const [program, ...args] = [...command, ...NODE, join(PROGRAMS, 'report.ts'), required];
  const child = Child.start(program as string, args, { env: { NIXL_LOG_LEVEL: 'FATAL', ...env } });
  onTestFinished(() => child.stop());
  return child.event('report', {}, 60_000);
}

describe('nixlDoctor and nixlExplain in a limited process', () => {
  beforeEach((context) => {
    const missing = nixlMissing();
    if (missing !== undefined) context.skip(missing);
  });

  it('report that process_vm_readv is forbidden and bytes go over TCP', async () => {
    const { processVm, system, problems, explained } = await reportUnder(['python3', join(PROGRAMS, 'seccomp.py')]);
    expect(processVm).toEqual({ allowed: false, reason: 'process_vm_readv: Operation not permitted' });
    expect(system.seccomp).toBe('filter');
    expect(problems.map(({ what }: { what: string }) => what).join()).toContain('go over TCP');
    expect(explained).toMatchObject({ transport: 'tcp', evidence: 'reported' });
  });

  it('reject a requirement of CMA if process_vm_readv is forbidden', async () => {
    const { explained } = await reportUnder(['python3', join(PROGRAMS, 'seccomp.py')], 'cma');
    expect(explained.rejected).toContain('cma was required, but tcp carries the bytes');
  });

  it('name the memlock limit if RDMA is required', async () => {
    const { system, explained } = await reportUnder(['sh', '-c', 'ulimit -l 64; exec "$@"', 'sh'], 'rdma');
    expect(system.memlock).toEqual({ softBytes: 65536, hardBytes: 65536 });
    if (explained.rejected === undefined) return expect(explained.transport).toBe('rdma');
    expect(explained.details.missing).toContainEqual(expect.stringMatching(/^memlock: only 65536 bytes may be locked/));
  });

  it('report a separate PID namespace', async (context) => {
    const unshared = ['unshare', '--pid', '--fork', '--mount-proc'];
    const refused = await execute('unshare', [...unshared.slice(1), 'true']).then(
      () => undefined,
      (error: Error) => error.message,
    );
    if (refused !== undefined) return context.skip(`no PID namespace can be created here: ${refused.trim()}`);
    const { system, explained } = await reportUnder(unshared);
    expect(system.ownPidNamespace).toBe(true);
    expect(explained).toMatchObject({ transport: 'cma', evidence: 'reported' });
  });

  it('report shared memory, and what it disables', async () => {
    const { explained } = await reportUnder([], 'shared-memory', { UCX_TLS: 'posix,sysv' });
    expect(explained).toMatchObject({
      transport: 'shared-memory',
      evidence: 'reported',
      lost: expect.stringContaining('the death of a peer is not detected'),
    });
  });

  it('report two copies of UCX', async (context) => {
    if (nixlLibrary === undefined) return context.skip('there is no wheel of NIXL in .peers');
    const libraries = join(dirname(dirname(nixlLibrary)), 'nixl_cu12.libs');
    const folder = mkdtempSync(join(tmpdir(), 'dynamo-nixl-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const [ucm, ucs] = ['libucm-', 'libucs-'].map(
      (start) => readdirSync(libraries).find((name) => name.startsWith(start)) as string,
    ) as [string, string];
    cpSync(join(libraries, ucm), join(folder, ucm));
    // The copy needs another name, like one of another build. Otherwise the linker would use NIXL's.
    const other = ucs.replace(/^libucs-\w{4}/, 'libucs-0000');
    writeFileSync(
      join(folder, other),
      Buffer.from(readFileSync(join(libraries, ucs)).toString('latin1').replaceAll(ucs, other), 'latin1'),
    );
    const { ucx, problems } = await reportUnder([], 'any', {
      LD_PRELOAD: join(folder, other),
      UCX_MEM_MMAP_HOOK_MODE: 'none',
    });
    expect(ucx.copies).toEqual([join(folder, other), join(libraries, ucs)].sort());
    expect(problems[0].what).toContain('more than one copy of UCX');
  });
});
