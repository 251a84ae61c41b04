import { checkArray, checkObject } from '../../check.js';
import type { NixlReport } from './doctor.js';

const size = (bytes: number): string =>
  bytes === Infinity
    ? 'unlimited'
    : bytes >= 2 ** 30
      ? `${(bytes / 2 ** 30).toFixed(1)} GiB`
      : `${(bytes / 2 ** 20).toFixed(1)} MiB`;

function libraryLines({ kind, path, version, tried, features }: NixlReport): string[] {
  if (kind === 'mock') return ['library    the mock: it moves bytes without NIXL'];
  if (kind === 'none') return ['library    none', ...tried.map((place) => `           ${place.path}: ${place.reason}`)];
  const lacking = Object.entries(features)
    .filter(([, missing]) => missing.length > 0)
    .map(([name]) => name);
  return [
    `library    ${version ?? 'of unknown version'}, ${path}`,
    ...(lacking.length > 0 ? [`           lacks ${lacking.join(', ')}`] : []),
  ];
}

function rdmaLines({ system: { rdma } }: NixlReport): string[] {
  const devices = rdma.devices.map(
    ({ name, ports }) =>
      `${name} (${ports.map(({ port, state, linkLayer }) => `port ${port} ${state} ${linkLayer}`).join(', ')})`,
  );
  return [
    `RDMA       ${devices.length > 0 ? devices.join(', ') : 'none'}`,
    ...rdma.missing.map((reason) => `           ${reason}`),
  ];
}

/** Formats the report as text: one line for each subject, then the problems with their fixes. */
export function formatNixlReport(report: NixlReport): string {
  checkObject('formatNixlReport report', report);
  checkArray('formatNixlReport report.plugins', report.plugins, 'plugins');
  const { plugins, ucx, cuda, system, processVm, problems } = report;
  const able = plugins.filter(({ loads }) => loads).map(({ name }) => name);
  const modules = ucx.modules.filter(({ loaded }) => loaded).map(({ name }) => name);
  const gpus = cuda?.devices.map(({ name, totalBytes }) => `${name} (${size(totalBytes)})`) ?? [];
  return [
    ...libraryLines(report),
    `plugins    ${able.join(', ') || 'none'}`,
    ...plugins.filter(({ loads }) => !loads).map(({ name, reason }) => `           ${name} does not load: ${reason}`),
    `UCX        ${ucx.folder === undefined ? 'not loaded' : `${ucx.folder}, modules ${modules.join(', ') || 'none'}`}`,
    ...ucx.modules
      .filter(({ loaded }) => !loaded)
      .map(({ name, reason }) => `           ${name} is not loaded${reason === '' ? '' : `: ${reason}`}`),
    `CUDA       ${gpus.length > 0 ? gpus.join(', ') : cuda?.reason || 'not known: no library'}`,
    ...rdmaLines(report),
    `memlock    ${size(system.memlock.softBytes)}`,
    `processes  ${processVm.allowed ? 'may read each other' : `may not read each other: ${processVm.reason}`}` +
      `${system.ownPidNamespace ? ', in a separate PID namespace' : ''}, seccomp ${system.seccomp}`,
    `/dev/shm   ${size(system.sharedMemoryBytes)}`,
    ...(problems.length === 0
      ? ['', 'No problems found.']
      : ['', ...problems.map(({ what, fix }) => `! ${what}\n  ${fix}`)]),
  ].join('\n');
}
