import { nixlDoctor } from '../nixl/diagnosis/doctor.js';
import { type DoctorCheck, okOr } from './doctor-check.js';

/** NIXL and what it uses. Needs the addon. */
export async function checkNixl(): Promise<DoctorCheck[]> {
  const { ok, kind, path, version, plugins, ucx, cuda, processVm, problems } = await nixlDoctor();
  const fixes = problems.map(({ what, fix }) => `${what}: ${fix}`).join('; ');
  if (kind === 'none')
    return [{ name: 'NIXL', status: 'absent', found: 'libnixl_capi.so was not found', fix: problems[0]?.fix ?? '' }];
  const able = plugins.filter(({ loads }) => loads).map(({ name }) => name);
  const modules = ucx.modules.filter(({ loaded }) => loaded).map(({ name }) => name);
  const devices = cuda?.devices.map(({ name }) => name) ?? [];
  return [
    {
      name: 'NIXL',
      found: `${version ?? 'of unknown version'}, ${path}; plugins ${able.join(', ') || 'none'}`,
      ...okOr(ok, 'warning', fixes),
    },
    {
      name: 'UCX',
      found: ucx.folder === undefined ? 'not loaded' : `${ucx.folder}; modules ${modules.join(', ') || 'none'}`,
      ...okOr(ucx.folder !== undefined, 'warning', 'NIXL needs its plugin UCX between machines'),
    },
    {
      name: 'CUDA',
      found: devices.join(', ') || 'no device for NIXL',
      ...okOr(devices.length > 0, 'absent', 'without a GPU, NIXL moves the memory of the host only'),
    },
    {
      name: 'process memory',
      found: processVm.allowed ? "processes may read each other's memory" : processVm.reason,
      ...okOr(processVm.allowed, 'warning', 'run containers with --cap-add=SYS_PTRACE'),
    },
  ];
}
