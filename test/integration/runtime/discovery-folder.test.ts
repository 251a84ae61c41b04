import { chmodSync, existsSync, mkdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DistributedRuntime, type DynamoError } from 'dynamo-node';
import { describe, expect, it, onTestFinished } from 'vitest';

import { Child } from '../../helpers/child.js';
import { temporaryFolder, testRuntime } from '../../helpers/runtime/runtime.js';
import type { NumbersItem, NumbersRequest } from '../../helpers/runtime/worker-protocol.js';
import { waitFor } from '../../helpers/wait.js';

const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8);
const inFolder = (dir: string) => testRuntime({ discovery: { kind: 'file', dir } });

/** An environment variable for one test. */
function setVariable(name: string, value: string | undefined): void {
  const before = process.env[name];
  const set = (to: string | undefined): void => {
    if (to === undefined) delete process.env[name];
    else process.env[name] = to;
  };
  set(value);
  onTestFinished(() => set(before));
}

describe('the folder of file discovery', () => {
  it('is created for its owner only', async () => {
    const dir = join(temporaryFolder(), 'made/for/discovery');
    await inFolder(dir);
    expect(mode(dir)).toBe('700');
  });

  it('is by default in the folder of the session, else one per user', async () => {
    setVariable('DYN_FILE_KV', undefined);
    const session = temporaryFolder();
    setVariable('XDG_RUNTIME_DIR', session);
    await testRuntime({ discovery: { kind: 'file' } });
    expect(mode(join(session, 'dynamo_store_kv'))).toBe('700');
    setVariable('XDG_RUNTIME_DIR', undefined);
    const own = join(tmpdir(), `dynamo_store_kv-${process.getuid?.()}`);
    const wasThere = existsSync(own);
    const runtime = await DistributedRuntime.create({ discovery: { kind: 'file' }, host: '127.0.0.1' });
    await runtime.close();
    expect(mode(own)).toBe('700');
    if (!wasThere) rmSync(own, { recursive: true });
  });

  it('is refused if it is a link, contains one, or all users can write to it', async () => {
    const folder = temporaryFolder();
    const real = join(folder, 'real');
    mkdirSync(join(real, 'v1'), { recursive: true });
    symlinkSync(real, join(folder, 'link'));
    for (const dir of [join(folder, 'link'), `${join(folder, 'link')}/`])
      await expect(inFolder(dir)).rejects.toThrow(
        /dir: expected a folder to write to, got ".*" \(it is a symbolic link\)/,
      );
    const [elsewhere, precious] = [join(folder, 'elsewhere'), join(folder, 'elsewhere/precious')];
    mkdirSync(elsewhere);
    writeFileSync(precious, '');
    symlinkSync(elsewhere, join(real, 'v1/instances'));
    await expect(inFolder(real)).rejects.toThrow(/v1\/instances is a symbolic link/);
    expect(existsSync(precious)).toBe(true);
    const open = join(folder, 'open');
    mkdirSync(open);
    chmodSync(open, 0o777);
    await expect(inFolder(open)).rejects.toThrow(/every user can write to it; chmod 700/);
    setVariable('DYN_FILE_KV', open);
    await expect(testRuntime({ discovery: { kind: 'file' } })).rejects.toThrow(/\$DYN_FILE_KV: .*every user can write/);
  });
});

describe('a worker that was paused for longer than its lease', () => {
  it('is found again after the pause', async () => {
    const dir = temporaryFolder();
    const path = 'paused.worker.numbers';
    const options = { path, runtime: { discovery: { kind: 'file', dir }, host: '127.0.0.1' } };
    const worker = Child.program('test/helpers/runtime/programs/worker.ts', [JSON.stringify(options)]);
    onTestFinished(() => worker.stop());
    await worker.event('ready');
    const runtime = await inFolder(dir);
    const client = await runtime.endpoint<NumbersRequest, NumbersItem>(path).client();
    await client.waitForInstances({ timeoutMs: 30_000 });
    // The worker has to know the content of its own files, which it reads every second.
    expect(await client.collect({ call: 1, items: 60, paceMs: 50 })).toHaveLength(60);
    worker.kill('SIGSTOP');
    await waitFor(
      'the end of the lease',
      () => client.instances().length,
      (count) => count === 0,
      60_000,
    );
    worker.kill('SIGCONT');
    await waitFor(
      'the return of the worker',
      () => client.instances().length,
      (count) => count === 1,
      60_000,
    );
    // The crates' router learns of the return by itself, and refuses calls until then.
    await waitFor(
      'an answer of the worker',
      () => client.collect({ call: 2, items: 3 }).catch((error: DynamoError) => error.code),
      (answer) => Array.isArray(answer) || answer !== 'DYN_UNAVAILABLE',
      10_000,
    );
    expect(await client.collect({ call: 3, items: 3 })).toHaveLength(3);
  });
});
