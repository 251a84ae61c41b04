import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { formatNixlReport, loadNixl, nixlDoctor } from 'dynamo-node';
import { describe, expect, it } from 'vitest';

import { nixlMissing, useTransport } from '../../helpers/nixl/library.js';
import { root } from '../../helpers/project.js';

useTransport('ucx');

describe('nixlDoctor', () => {
  it('reports the library, its plugins and UCX', async (context) => {
    const missing = nixlMissing();
    if (missing !== undefined) return context.skip(missing);
    const report = await nixlDoctor();
    expect(report).toMatchObject({ ok: true, kind: 'real', tried: [], processVm: { allowed: true, reason: '' } });
    expect(existsSync(report.path)).toBe(true);
    expect(report.version).toMatch(/^\d+\.\d+\.\d+/);
    expect(report.plugins.find(({ name }) => name === 'UCX')).toEqual({ name: 'UCX', loads: true, reason: '' });
    expect(report.ucx.modules.find(({ name }) => name === 'uct_cma')).toMatchObject({ loaded: true });
    expect(report.ucx.copies).toEqual([]);
    // Each plugin that does not load has the reason of the dynamic linker.
    for (const { name, loads, reason } of report.plugins)
      expect([name, loads, reason !== ''], name).toEqual([name, loads, !loads]);
    expect(formatNixlReport(report)).toContain(report.path);
  });

  it('names the library that a GPU plugin lacks if there is no GPU', async (context) => {
    const missing = nixlMissing();
    if (missing !== undefined) return context.skip(missing);
    const report = await nixlDoctor();
    if (report.cuda?.available === true) return context.skip('there is a GPU');
    const gds = report.plugins.find(({ name }) => name === 'GDS');
    expect(gds).toMatchObject({ loads: false });
    expect(gds?.reason).toMatch(/lib(cudart|cufile|cuda)\.so/);
    expect(report.ucx.modules.find(({ name }) => name === 'uct_cuda')).toMatchObject({ loaded: false });
  });

  it('does not load the files that it examines into this process', async (context) => {
    const missing = nixlMissing();
    if (missing !== undefined) return context.skip(missing);
    const first = await nixlDoctor();
    const second = await nixlDoctor();
    expect(second.plugins).toEqual(first.plugins);
    expect(second.ucx).toEqual(first.ucx);
  });

  it('reports the mock', async () => {
    const report = await nixlDoctor({ library: loadNixl({ mode: 'mock' }) });
    expect(report).toMatchObject({ ok: false, kind: 'mock', path: '', version: undefined });
    expect(formatNixlReport(report)).toContain('the mock');
  });

  it('returns a report with the install command if there is no library', () => {
    // The library is loaded once per process, so this test needs a separate process.
    const script = `import { formatNixlReport, nixlDoctor } from './lib/index.js';
      const report = await nixlDoctor({ load: { path: '/nonexistent/libnixl_capi.so' } });
      console.log(JSON.stringify(report.tried), formatNixlReport(report));`;
    const { stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
      cwd: root,
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    expect(stdout).toContain('[{"path":"/nonexistent/libnixl_capi.so","reason":"no such file"}]');
    expect(stdout).toContain('pip install --no-deps nixl-cu12');
  });
});
