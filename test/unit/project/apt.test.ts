import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describe, expect, it, onTestFinished } from 'vitest';

import { root } from '../../helpers/project.js';
import { waitFor } from '../../helpers/wait.js';

/** `policy` says whether the file that keeps services from starting is there. */
const CALLED = `policy=$([ -e "$FOLDER/policy-rc.d" ] && echo policy)
echo "apt-get $* $policy"
`;

const APT_GET = `#!/bin/sh
${CALLED}`;

const WAITING_APT_GET = `#!/bin/sh
trap '[ -z "$!" ] || kill $!; [ -e "$FOLDER/policy-rc.d" ] && echo "apt-get ended, policy"; exit 1' INT TERM HUP
${CALLED}/bin/sleep 60 &
wait $!
`;

const AS_ROOT = 'process.getuid = () => 0;';
const ON_TERMINAL = `${AS_ROOT} process.stdin.isTTY = process.stdout.isTTY = true;`;

interface Options {
  /** JavaScript that runs first. */
  readonly change?: string;
  readonly aptGet?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: string;
}

/** A set-up in a process whose PATH has only a false apt-get. `steps` are statements that call its functions. */
function setUp(steps: string, { change = AS_ROOT, aptGet = APT_GET, env = {}, input = '' }: Options = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'dynamo-apt-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'apt-get'), aptGet);
  chmodSync(join(folder, 'apt-get'), 0o755);
  const program = `
    const { installPackages } = await import('./scripts/setup/system.mjs');
    const { aptInstall } = await import('./scripts/setup/apt.mjs');
    const { main } = await import('./scripts/setup/index.mjs');
    const policy = ${JSON.stringify(join(folder, 'policy-rc.d'))};
    await main(async () => { ${steps} });`;
  const args = ['--import', `data:text/javascript,${encodeURIComponent(change)}`, '--input-type=module', '-e', program];
  const child = spawn(process.execPath, args, {
    cwd: root,
    env: { HOME: folder, PATH: folder, FOLDER: folder, ...env },
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (part: Buffer) => (output += part));
  child.stdin.end(input);
  return {
    child,
    output: () => output,
    ended: once(child, 'close').then(([code, signal]) => ({ code: code as number | null, signal: signal as string })),
    policy: join(folder, 'policy-rc.d'),
  };
}

const calls = (output: string): string[] => output.split('\n').filter((line) => line.includes('apt-get -'));

describe('the installation of system packages', () => {
  it('is announced once, with every package and its purpose, before the first call of apt', async () => {
    const later = "[{ name: 'rustup', why: 'installs Rust' }]";
    const run = setUp(`
      await installPackages({ test: true, later: ${later}, policy }).catch((error) => console.log(error.message));
      await aptInstall(${later}, { policy });`);
    expect(await run.ended).toEqual({ code: 0, signal: null });
    const lines = run.output().split('\n');
    const first = lines.findIndex((line) => line.startsWith('apt-get '));
    const announcement = lines.slice(0, first).join('\n');
    expect(announcement).toMatch(/^set-up: apt-get will update its lists and install/);
    for (const row of [
      /^ {2}g\+\+ +compiles C\+\+$/m,
      /^ {2}etcd-server +is started by tests$/m,
      /^ {2}clang-format-14 +is only for npm run lint$/m,
      /^ {2}rustup +installs Rust$/m,
      /policy-rc\.d keeps services from starting; the file is removed afterwards\.$/,
    ])
      expect(announcement).toMatch(row);
    expect(run.output().match(/apt-get will/g)).toHaveLength(1);

    const [update, install, rustup, ...rest] = calls(run.output());
    expect(update).toMatch(/^apt-get -qq update policy$/);
    expect(install).toMatch(
      /^apt-get -y --no-install-recommends .* install g\+\+ .* chromium docker-registry skopeo umoci policy$/,
    );
    expect(rustup).toMatch(/ install rustup policy$/);
    expect(rest).toEqual([]);
    expect(existsSync(run.policy)).toBe(false);
  });

  const install = "await aptInstall([{ name: 'mold', why: 'links' }], { policy });";

  it.each([
    ['no', 'n\n'],
    ['the end of its input', ''],
  ])('does not happen if the answer on a terminal is %s', async (_, input) => {
    const run = setUp(install, { change: ON_TERMINAL, input });
    expect(await run.ended).toEqual({ code: 1, signal: null });
    expect(run.output()).toMatch(/Continue\? \[Y\/n\] /);
    expect(run.output()).toMatch(/Nothing was installed\. Install these packages, then try again: mold\n$/);
    expect(calls(run.output())).toEqual([]);
  });

  it.each(['\n', 'y\n', 'Yes\n'])('happens if the answer is %j', async (input) => {
    const run = setUp(install, { change: ON_TERMINAL, input });
    expect(await run.ended).toEqual({ code: 0, signal: null });
    expect(calls(run.output())).toHaveLength(2);
  });

  it.each<[what: string, steps: string, options: Options]>([
    ['with --yes', 'await installPackages({ test: true, yes: true, policy }).catch(() => {});', {}],
    ['if CI is set', install, { env: { CI: 'true' } }],
    ['without a terminal', install, { change: AS_ROOT }],
  ])('asks nothing %s', async (_, steps, options) => {
    const run = setUp(steps, { change: ON_TERMINAL, ...options });
    expect(await run.ended).toEqual({ code: 0, signal: null });
    expect(run.output()).not.toContain('Continue?');
    expect(run.output()).toContain('apt-get will');
    expect(calls(run.output()).length).toBeGreaterThan(1);
  });

  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
    'ends apt on %s, then removes its file, then ends by the signal',
    async (signal) => {
      const run = setUp(`${install} console.log('continued');`, { aptGet: WAITING_APT_GET });
      await waitFor('apt-get runs', run.output, (output) => calls(output).length === 1);
      expect(readFileSync(run.policy, 'utf8')).toBe('#!/bin/sh\nexit 101\n');
      run.child.kill(signal);
      expect(await run.ended).toEqual({ code: null, signal });
      expect(run.output()).toMatch(/\napt-get ended, policy\n$/);
      expect(existsSync(run.policy)).toBe(false);
    },
  );

  it("keeps an administrator's own file, also when apt fails", async () => {
    const own = "(await import('node:fs')).writeFileSync(policy, 'own');";
    const run = setUp(`${own} ${install}`, { aptGet: `${APT_GET}exit 100\n` });
    expect(await run.ended).toEqual({ code: 1, signal: null });
    expect(run.output()).toMatch(/apt-get -qq update failed \(exit code 100\)\n$/);
    expect(readFileSync(run.policy, 'utf8')).toBe('own');
  });
});
