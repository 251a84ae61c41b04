import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';

import { loadGraph } from '../../../lib/deploy/load-graph.js';
import { control, startControl } from '../../../lib/deploy/local/control.js';
import { discoveryVariables, runtimeOptionsOf } from '../../../lib/deploy/local/discovery-settings.js';
import { LocalGraph } from '../../../lib/deploy/local/local-graph.js';
import { isRunning, outerPid, ownProcessId } from '../../../lib/deploy/local/process-id.js';
import { RunFolder, type RunState, runningGraphs, runsFolder } from '../../../lib/deploy/local/run-folder.js';
import { root } from '../../helpers/project.js';

const runs = mkdtempSync(join(tmpdir(), 'runs-'));
afterAll(() => rmSync(runs, { recursive: true }));

const stateOf = (graph: string, folder: RunFolder): RunState => ({
  schema: 'dynamo-node.run/v1',
  graph,
  pid: process.pid,
  supervisor: folder.owner,
  file: '/graph.ts',
  startedAt: '2026-01-01T00:00:00.000Z',
  phase: 'ready',
  urls: [],
  services: [],
});

describe('RunFolder', () => {
  it('is only for its user, and is listed until it is released', () => {
    const folder = RunFolder.take(runs, 'listed');
    expect(statSync(folder.path).mode & 0o777).toBe(0o700);
    expect(runningGraphs(runs)).toEqual([]);
    folder.writeState(stateOf('listed', folder));
    expect(runningGraphs(runs)).toEqual([{ folder: folder.path, state: stateOf('listed', folder) }]);
    mkdirSync(folder.logs);
    folder.release();
    expect(runningGraphs(runs)).toEqual([]);
    expect(existsSync(folder.logs)).toBe(true);
  });

  it('rejects a second run of one graph with the process that runs it', () => {
    const folder = RunFolder.take(runs, 'taken');
    expect(() => RunFolder.take(runs, 'taken')).toThrow(
      expect.objectContaining({
        code: 'E_ALREADY_RUNNING',
        exitCode: 73,
        message: `graph taken already runs here, as process ${ownProcessId().pid}`,
      }),
    );
    folder.release();
  });

  it('is taken over from a process that is gone, without what that left', () => {
    const path = join(runs, 'stale');
    mkdirSync(join(path, 'discovery'), { recursive: true });
    chmodSync(path, 0o700);
    writeFileSync(join(path, 'discovery', 'old'), '');
    for (const lock of [JSON.stringify({ pid: process.pid, startTime: '1' }), 'half of']) {
      writeFileSync(join(path, 'lock'), lock);
      const folder = RunFolder.take(runs, 'stale');
      expect(existsSync(join(folder.discovery, 'old'))).toBe(false);
      folder.release();
    }
  });

  it('rejects a folder that other users can use', () => {
    mkdirSync(join(runs, 'open'));
    chmodSync(join(runs, 'open'), 0o777);
    expect(() => RunFolder.take(runs, 'open')).toThrow(
      expect.objectContaining({ code: 'E_RUN_FOLDER', message: expect.stringContaining('chmod 700') as string }),
    );
  });

  it('stays below the folder of all runs, whatever the name is', () => {
    const paths = ['../../outside', '..'].map((name) => {
      const folder = RunFolder.take(runs, name);
      folder.release();
      return folder.path;
    });
    expect(paths).toEqual([join(runs, '__.._outside'), join(runs, '_')]);
  });

  it('is below $DYN_LOCAL_STATE_DIR, else $DYN_HOME, else in the home folder', () => {
    expect(runsFolder({ DYN_LOCAL_STATE_DIR: '/state' })).toBe('/state');
    expect(runsFolder({ DYN_HOME: '/dynamo' })).toBe('/dynamo/run');
    expect(runsFolder({})).toMatch(/\/\.dynamo\/run$/);
  });
});

describe('a process id', () => {
  it('says whether the process still runs, also if its number is used again', async () => {
    const own = ownProcessId();
    expect(isRunning(own)).toBe(true);
    expect(isRunning({ ...own, startTime: '1' })).toBe(false);
    const child = spawn('sleep', ['100']);
    expect(outerPid(child.pid!)).toBe(child.pid);
    child.kill();
    await once(child, 'exit');
    expect(isRunning({ pid: child.pid!, startTime: '' })).toBe(false);
  });
});

describe('control', () => {
  it.each([
    ['short', 'a'],
    ['of more than 107 bytes', 'b'.repeat(120)],
  ])('gets the answer and the failure over a socket whose path is %s', async (_, name) => {
    mkdirSync(join(runs, name));
    const socket = join(runs, name, 'control.sock');
    const folder = RunFolder.take(runs, 'controlled');
    const server = await startControl(socket, async ({ command }) => {
      if (command === 'stop') throw new Error('not now');
      return { state: stateOf(command, folder) };
    });
    expect(statSync(socket).mode & 0o777).toBe(0o600);
    expect(await control(socket, { command: 'status' })).toMatchObject({ graph: 'status' });
    await expect(control(socket, { command: 'stop' })).rejects.toMatchObject({ message: 'not now', exitCode: 1 });
    server.close();
    await once(server, 'close');
    await expect(control(socket, { command: 'status' })).rejects.toMatchObject({ code: 'E_NOT_RUNNING' });
    folder.release();
  });
});

describe('runtimeOptionsOf', () => {
  it('keeps everything on this machine by default', () => {
    const options = runtimeOptionsOf({}, {}, '/run/discovery');
    expect(options).toEqual({ discovery: { kind: 'file', dir: '/run/discovery' }, host: '127.0.0.1' });
    expect(discoveryVariables(options)).toEqual({
      DYN_DISCOVERY_BACKEND: 'file',
      DYN_FILE_KV: '/run/discovery',
      DYN_TCP_RPC_HOST: '127.0.0.1',
      DYN_TCP_RESPONSE_STREAM_HOST: '127.0.0.1',
      DYN_EVENT_PLANE_HOST: '127.0.0.1',
    });
  });

  it('uses what the flags say, else what the variables say', () => {
    const planes = { requestPlane: 'nats', eventPlane: 'nats' } as const;
    expect(runtimeOptionsOf({ discoveryBackend: 'etcd', ...planes }, {}, '/run')).toEqual({
      discovery: { kind: 'etcd' },
      ...planes,
    });
    expect(runtimeOptionsOf({}, { DYN_FILE_KV: '/kv', DYN_TCP_RPC_HOST: 'eth0' }, '/run')).toEqual({
      discovery: { kind: 'file', dir: '/kv' },
    });
    const host = { planeHost: '127.0.0.1', discoveryBackend: 'etcd' } as const;
    expect(runtimeOptionsOf(host, { DYN_TCP_RPC_HOST: 'eth0' }, '/run')).toEqual({
      discovery: { kind: 'etcd' },
      host: '127.0.0.1',
    });
  });

  it('rejects discovery in memory, which other processes cannot see', () => {
    expect(() => runtimeOptionsOf({}, { DYN_DISCOVERY_BACKEND: 'mem' }, '/run')).toThrow(
      expect.objectContaining({
        code: 'E_DISCOVERY',
        exitCode: 64,
        message: "discovery backend 'mem': expected one of file, etcd, kubernetes",
      }),
    );
  });

  it('rejects a namespace of the environment that is no name, before it takes a folder', async () => {
    const { graph, ...module } = await loadGraph('words.ts', join(root, 'test/helpers/deploy/graphs'));
    const creating = LocalGraph.create({
      ...{ module, spec: graph.toJSON(), out: process.stdout, note: () => {} },
      env: { DYN_LOCAL_STATE_DIR: runs, DYN_NAMESPACE: 'a/b' },
    });
    await expect(creating).rejects.toMatchObject({
      code: 'E_NAMESPACE',
      exitCode: 64,
      message: '$DYN_NAMESPACE: expected a name of a-z, 0-9, - and _, got "a/b"',
    });
    expect(existsSync(join(runs, graph.name))).toBe(false);
  });
});
