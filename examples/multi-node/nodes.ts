// Two machines on one: network namespaces that a virtual cable connects. Needs root.
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';

const ip = (...words: readonly string[]): void =>
  void execFileSync('ip', words, { stdio: ['ignore', 'ignore', 'pipe'] });

/** Why this machine cannot be two nodes, or undefined if it can. */
export function missingForNodes(): string | undefined {
  const programs = [
    ['ip', '-V'],
    ['etcd', '--version'],
    ['nats-server', '--version'],
    ['curl', '--version'],
  ] as const;
  const missing = programs.filter(([program, flag]) => spawnSync(program, [flag]).error !== undefined);
  if (missing.length > 0) return `not installed: ${missing.map(([program]) => program).join(', ')}`;
  const probe = `dynamo-${process.pid}`;
  const { status, stderr } = spawnSync('ip', ['netns', 'add', probe], { encoding: 'utf8' });
  if (status !== 0) return `no network namespaces: ${stderr.trim()} (this needs root)`;
  ip('netns', 'del', probe);
  return undefined;
}

/** A network namespace, and the processes that run in it. */
export class Node {
  readonly #children: ChildProcess[] = [];

  constructor(
    readonly name: string,
    readonly address: string,
  ) {}

  /** Starts a program on this node. Its output goes to the standard error, unless it is read. */
  start(program: string, args: readonly string[], options: { env?: NodeJS.ProcessEnv; read?: boolean } = {}) {
    const { env = {}, read = false } = options;
    const child = spawn('ip', ['netns', 'exec', this.name, program, ...args], {
      stdio: ['ignore', read ? 'pipe' : 2, 'inherit'],
      env: { ...process.env, ...env },
    });
    this.#children.push(child);
    return child;
  }

  /** Runs a program on this node, and returns its output. */
  async run(program: string, ...args: readonly string[]): Promise<string> {
    const child = this.start(program, args, { read: true });
    let output = '';
    child.stdout?.on('data', (part: Buffer) => {
      output += part;
    });
    const [code] = await once(child, 'close');
    if (code !== 0) throw new Error(`${program} ended with ${code}`);
    return output;
  }

  /** Ends its processes, the last one first. */
  async stop(): Promise<void> {
    for (const child of this.#children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    }
  }
}

/** Two nodes with a cable between them. */
export class Nodes implements AsyncDisposable {
  readonly first = new Node(`dynamo-${process.pid}-1`, '10.77.0.1');
  readonly second = new Node(`dynamo-${process.pid}-2`, '10.77.0.2');

  constructor() {
    const [one, two] = [this.first, this.second];
    for (const { name } of [one, two]) ip('netns', 'add', name);
    ip('link', 'add', 'eth0', 'netns', one.name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', two.name);
    for (const { name, address } of [one, two]) {
      ip('-n', name, 'addr', 'add', `${address}/24`, 'dev', 'eth0');
      for (const device of ['lo', 'eth0']) ip('-n', name, 'link', 'set', device, 'up');
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.second.stop();
    await this.first.stop();
    for (const { name } of [this.first, this.second]) ip('netns', 'del', name);
  }
}
