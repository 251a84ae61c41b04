import { type CommandArgs, type CommandIo, EXIT } from './command.js';
import type { DoctorOptions } from './doctor.js';
import type { CheckContext, CheckStatus, DoctorCheck } from './doctor-check.js';
import { checkEtcd, checkFolder, checkKubernetes, checkNats } from './doctor-servers.js';
import {
  checkAddon,
  checkBuildTools,
  checkContainment,
  checkGpus,
  checkLimits,
  checkNode,
  checkPorts,
  checkPython,
  checkRdma,
  checkTypeScript,
} from './doctor-system.js';
import { print, printJson, type Style, styled, wrapped } from './output.js';

const TIMEOUT_MS = 2000;

const MARKS: { readonly [Status in CheckStatus]: readonly [mark: string, style: Style] } = {
  ok: ['ok', 'green'],
  absent: ['--', 'dim'],
  warning: ['!!', 'yellow'],
  error: ['XX', 'red'],
};

const MARK_WIDTH = 4;

/** Examines the machine. Returns 1 if the package cannot work. */
export async function run({ options, json }: CommandArgs<DoctorOptions>, io: CommandIo): Promise<number> {
  const context: CheckContext = { env: io.env, cwd: io.cwd, timeoutMs: options.timeoutMs ?? TIMEOUT_MS };
  const checks = await examine(context);
  const ok = checks.every(({ status }) => status !== 'error');
  if (json) printJson(io, { ok, checks });
  else report(checks, io);
  return ok ? EXIT.ok : EXIT.failure;
}

async function examine(context: CheckContext): Promise<DoctorCheck[]> {
  const addon = await checkAddon();
  const groups = await Promise.all([
    checkNode(),
    addon,
    checkTypeScript(context),
    checkBuildTools(context),
    checkPython(context),
    checkGpus(context),
    addon.status === 'ok' ? nixl() : [],
    checkRdma(),
    checkFolder(context),
    checkEtcd(context),
    checkNats(context),
    checkKubernetes(context),
    checkPorts(context),
    checkLimits(),
    checkContainment(),
  ]);
  return groups.flat();
}

/** A report instead of an error: NIXL is optional. */
async function nixl(): Promise<DoctorCheck[]> {
  try {
    const { checkNixl } = await import('./doctor-nixl.js');
    return await checkNixl();
  } catch (error) {
    return [{ name: 'NIXL', status: 'warning', found: `its examination fails: ${(error as Error).message}` }];
  }
}

function report(checks: readonly DoctorCheck[], io: CommandIo): void {
  const width = Math.max(...checks.map(({ name }) => name.length)) + 2;
  for (const { name, status, found, fix } of checks) {
    const [mark, style] = MARKS[status];
    const indent = MARK_WIDTH + width;
    const lines = wrapped(io, found, indent);
    print(io, `${styled(io, style, mark.padEnd(MARK_WIDTH))}${name.padEnd(width)}${lines.join('\n')}`);
    if (fix !== undefined && fix !== '')
      print(io, `${' '.repeat(indent)}${styled(io, 'cyan', '-> ')}${wrapped(io, fix, indent + 3).join('\n')}`);
  }
  const count = (wanted: CheckStatus): number => checks.filter(({ status }) => status === wanted).length;
  print(io);
  const [errors, warnings] = [count('error'), count('warning')];
  const works = errors === 0 ? 'The package can work here.' : 'The package cannot work here.';
  print(io, `${works} ${errors} errors, ${warnings} warnings, ${count('absent')} optional parts are absent.`);
}
