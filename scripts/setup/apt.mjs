import { once } from 'node:events';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline/promises';
import { run, SetUpError } from './process.mjs';

const policyFile = '/usr/sbin/policy-rc.d';
const endings = ['SIGINT', 'SIGTERM', 'SIGHUP'];

const announced = new Set();
let isUpdated = false;

const isTerminal = () => Boolean(process.stdin.isTTY && process.stdout.isTTY);

async function isAgreed() {
  const lines = createInterface({ input: process.stdin, output: process.stdout, terminal: false });
  const ended = once(lines, 'close').then(() => 'no');
  const answer = await Promise.race([lines.question('Continue? [Y/n] '), ended]);
  lines.close();
  return /^\s*(y|yes)?\s*$/i.test(answer);
}

/**
 * Says what apt will install and why, each package once. On a terminal it then asks, except with `yes` or if the
 * variable CI is set.
 */
export async function announce(packages, { yes = false } = {}) {
  const added = packages.filter(({ name }) => !announced.has(name));
  if (added.length === 0) return;
  for (const { name } of added) announced.add(name);
  const width = Math.max(...added.map(({ name }) => name.length)) + 2;
  console.log('set-up: apt-get will update its lists and install, with what these packages depend on:');
  for (const { name, why } of added) console.log(`  ${name.padEnd(width)}${why}`);
  console.log(`While it runs, ${policyFile} keeps services from starting; the file is removed afterwards.`);
  if (yes || process.env.CI || !isTerminal()) return;
  if (!(await isAgreed()))
    throw new SetUpError(
      `Nothing was installed. Install these packages, then try again: ${added.map(({ name }) => name).join(' ')}`,
    );
}

/**
 * Calls `work` while a file keeps the services of new packages from starting. A signal is passed on to the running
 * command. When that has ended and the file is removed, the signal ends this process.
 */
async function withoutServices(policy, work) {
  const ours = !existsSync(policy);
  const remove = () => ours && rmSync(policy, { force: true });
  const stop = new AbortController();
  const onSignal = (signal) => stop.abort(signal);
  for (const signal of endings) process.on(signal, onSignal);
  process.on('exit', remove);
  try {
    if (ours) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
    await work(stop.signal);
  } finally {
    remove();
    process.off('exit', remove);
    for (const signal of endings) process.off(signal, onSignal);
    if (stop.signal.aborted) process.kill(process.pid, stop.signal.reason);
  }
}

const install = ['-y', '--no-install-recommends', '-o', 'Dpkg::Use-Pty=0', '-qq', 'install'];

/** Installs packages, each `{ name, why }`, without starting the services among them. Announces what was not yet. */
export async function aptInstall(packages, { policy = policyFile } = {}) {
  await announce(packages);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  await withoutServices(policy, async (stop) => {
    if (!isUpdated) await run('apt-get', ['-qq', 'update'], { env, stop });
    isUpdated = true;
    await run('apt-get', [...install, ...packages.map(({ name }) => name)], { env, stop });
  });
}
