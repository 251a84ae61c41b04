import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { freePort } from '../../../lib/testing/port.js';
import { root } from '../project.js';

/** The tiny Llama, whose keys and values `examples/tiny-llama` computes too. */
export const MODEL = join(root, 'examples/tiny-llama/model');
export const BLOCK_SIZE = 32;

/** vLLM imports for a minute or two, and longer on a loaded machine. */
export const READY_MS = 900_000;
const STOP_MS = 40_000;

const running = new Set<number>();
process.on('exit', () => {
  for (const pid of running) killGroup(pid, 'SIGKILL');
});

/** vLLM has processes of its own, which are in the group of the one that was started. */
function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // They have ended.
  }
}

/** The Python of the environment that `npm run test:vllm` installs. */
const python = process.env['VLLM_PYTHON'];
/** vLLM spins even if it is idle. */
const niceness = process.env['VLLM_NICE'] ?? '19';
/** The folder with vLLM 0.31.0. */
const older = process.env['VLLM_OLDER'];

export const vllmMissing =
  python === undefined ? 'vLLM is not installed here: run npm run test:vllm, which installs it' : undefined;

const POLITE = {
  OMP_NUM_THREADS: '1',
  VLLM_CPU_OMP_THREADS_BIND: 'nobind',
  VLLM_CPU_KVCACHE_SPACE: '1',
  VLLM_NO_USAGE_STATS: '1',
  HF_HUB_OFFLINE: '1',
  VLLM_NIXL_SIDE_CHANNEL_HOST: '127.0.0.1',
};

export interface WorkerOptions {
  readonly version?: '0.31.0' | '0.32.0';
  /** @default 'kv_both' */
  readonly role?: 'kv_producer' | 'kv_consumer' | 'kv_both';
  readonly bidirectional?: boolean;
  /** The port to which the worker sends its KV events. */
  readonly eventPort?: number;
  readonly policy?: 'fail' | 'recompute';
}

/** Arguments of vLLM that every worker has. */
export function workerArguments({
  role = 'kv_both',
  bidirectional = false,
  eventPort,
  policy,
}: WorkerOptions): string[] {
  const transfer = {
    kv_connector: 'NixlConnector',
    kv_role: role,
    kv_buffer_device: 'cpu',
    kv_connector_extra_config: bidirectional ? { bidirectional_kv_xfer: true } : {},
    ...(policy && { kv_load_failure_policy: policy }),
  };
  const events = {
    enable_kv_cache_events: true,
    publisher: 'zmq',
    topic: 'kv-events',
    endpoint: `tcp://127.0.0.1:${eventPort}`,
  };
  return [
    ...['--model', MODEL, '--served-model-name', 'tiny', '--enforce-eager', '--max-model-len', '2048'],
    ...['--dtype', 'float32', '--max-num-seqs', '8', '--block-size', String(BLOCK_SIZE), '--enable-prefix-caching'],
    ...['--kv-transfer-config', JSON.stringify(transfer)],
    ...(eventPort === undefined ? [] : ['--kv-events-config', JSON.stringify(events)]),
  ];
}

/** A Python program of the environment, at a low priority, which is stopped by its process id. */
export class PythonProgram {
  log = '';

  private constructor(readonly child: ChildProcess) {
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (part: Buffer) => (this.log = (this.log + part).slice(-200_000)));
  }

  static start(
    args: readonly string[],
    env: NodeJS.ProcessEnv,
    version: WorkerOptions['version'] = '0.32.0',
  ): PythonProgram {
    if (python === undefined) throw new Error(vllmMissing);
    const path = version === '0.31.0' ? { PYTHONPATH: older } : {};
    const child = spawn('nice', ['-n', niceness, python, ...args], {
      env: { ...process.env, ...POLITE, ...path, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    running.add(child.pid as number);
    return new PythonProgram(child);
  }

  get isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  /** Waits until `isReady`. */
  async ready(isReady: () => Promise<boolean>): Promise<void> {
    const deadline = Date.now() + READY_MS;
    while (!(await isReady().catch(() => false))) {
      if (!this.isRunning || Date.now() > deadline)
        throw new Error(`the program is not ready; its output ends with:\n${this.log.slice(-6000)}`);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }

  /** Ends it at once, as a crash does. */
  async kill(): Promise<void> {
    const pid = this.child.pid as number;
    const ended = this.isRunning ? once(this.child, 'exit') : undefined;
    killGroup(pid, 'SIGKILL');
    running.delete(pid);
    await ended;
  }

  async stop(): Promise<void> {
    if (!this.isRunning) return this.kill();
    const ended = once(this.child, 'exit');
    this.child.kill('SIGTERM');
    const timer = setTimeout(() => void this.kill(), STOP_MS);
    await ended;
    clearTimeout(timer);
    await this.kill();
  }
}

export interface Completion {
  readonly status: number;
  readonly text: string;
  readonly tokens: readonly number[];
  readonly logprobs: readonly number[];
  readonly params: unknown;
  readonly ms: number;
}

/** vLLM's own OpenAI server with the NIXL connector. */
export class VllmServer {
  private constructor(
    readonly program: PythonProgram,
    readonly url: string,
    /** The side channel. */
    readonly side: { readonly host: string; readonly port: number },
  ) {}

  static async start(options: WorkerOptions = {}): Promise<VllmServer> {
    const [port, sidePort] = [await freePort(), await freePort()];
    const entry = ['-m', 'vllm.entrypoints.openai.api_server', '--host', '127.0.0.1', '--port', String(port)];
    const env = { VLLM_NIXL_SIDE_CHANNEL_PORT: String(sidePort) };
    const program = PythonProgram.start([...entry, ...workerArguments(options)], env, options.version);
    const url = `http://127.0.0.1:${port}`;
    const server = new VllmServer(program, url, { host: '127.0.0.1', port: sidePort });
    try {
      await program.ready(async () => (await fetch(`${url}/health`)).ok);
    } catch (error) {
      await program.stop();
      throw error;
    }
    return server;
  }

  /** Completes a prompt greedily. `salt` keeps the worker from using what it has cached. */
  async complete(
    prompt: readonly number[],
    maxTokens: number,
    { params, salt }: { readonly params?: unknown; readonly salt?: string } = {},
  ): Promise<Completion> {
    const start = performance.now();
    const response = await fetch(`${this.url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', connection: 'close' },
      body: JSON.stringify({
        model: 'tiny',
        prompt,
        max_tokens: maxTokens,
        temperature: 0,
        logprobs: 1,
        return_token_ids: true,
        ignore_eos: true,
        ...(params !== undefined && { kv_transfer_params: params }),
        ...(salt !== undefined && { cache_salt: salt }),
      }),
    });
    const body = (await response.json()) as any;
    const ms = performance.now() - start;
    const choice = body.choices?.[0];
    return {
      status: response.status,
      text: choice?.text ?? JSON.stringify(body),
      tokens: choice?.token_ids ?? [],
      logprobs: choice?.logprobs?.token_logprobs ?? [],
      params: body.kv_transfer_params,
      ms,
    };
  }

  /** The sum of a counter. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    const lines = text.split('\n').filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
  }

  stop(): Promise<void> {
    return this.program.stop();
  }
}
