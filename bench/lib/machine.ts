import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { versions } from 'dynamo-node';
import { pythonMissing, root } from './peer.js';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
}

export function machine(): Machine {
  const all = cpus();
  return {
    cpu: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
  };
}

/** The mean number of runnable processes in the last minute. */
export function load(): number {
  return Number(readFileSync('/proc/loadavg', 'utf8').split(' ')[0]);
}

export function versionsOfAll(): Record<string, string> {
  const { dynamoNode, dynamo } = versions();
  const grpc = JSON.parse(readFileSync(`${root}node_modules/@grpc/grpc-js/package.json`, 'utf8')) as {
    version: string;
  };
  return { dynamoNode, dynamo, node: process.versions.node, grpcJs: grpc.version, ...pythonVersions() };
}

function pythonVersions(): Record<string, string> {
  if (pythonMissing !== undefined) return {};
  const code = [
    'import platform, importlib.metadata as m',
    'print(platform.python_version(), m.version("ai-dynamo-runtime"), m.version("uvloop"))',
  ].join('\n');
  const [python, wheel, uvloop] = execFileSync(`${root}.peers/bin/python`, ['-c', code], { encoding: 'utf8' })
    .trim()
    .split(' ');
  return { python: python as string, aiDynamoRuntime: wheel as string, uvloop: uvloop as string };
}
