import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { root } from '../project.js';

const python = join(root, '.peers/bin/python');

/** Why the Python wheels cannot run here, or undefined if they can. */
export const missingPeers = existsSync(python)
  ? undefined
  : 'the Python peers are not installed (npm run setup -- --test)';

/** The environment in which a process joins a deployment on file discovery. */
export function peerEnvironment(dir: string): NodeJS.ProcessEnv {
  return {
    ...process.env,
    DYN_DISCOVERY_BACKEND: 'file',
    DYN_FILE_KV: dir,
    DYN_REQUEST_PLANE: 'tcp',
    DYN_EVENT_PLANE: 'zmq',
    DYN_TCP_RPC_HOST: '127.0.0.1',
    DYN_TCP_RESPONSE_STREAM_HOST: '127.0.0.1',
    DYN_EVENT_PLANE_HOST: '127.0.0.1',
    DYN_LOG: 'warn',
    HF_HUB_OFFLINE: '1',
  };
}

export interface Peer {
  readonly process: ChildProcess;
  /** The content of both outputs. */
  log(): string;
  stop(): Promise<void>;
}

/** Starts `python ...args` in a deployment. */
export function startPeer(dir: string, ...args: string[]): Peer {
  const child = spawn(python, args, { env: peerEnvironment(dir), stdio: ['ignore', 'pipe', 'pipe'] });
  let log = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (part: Buffer) => (log += part));
  return {
    process: child,
    log: () => log,
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
      await ended;
      clearTimeout(timer);
    },
  };
}
