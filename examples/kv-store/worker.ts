import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const model = fileURLToPath(new URL('../tiny-llama/model', import.meta.url));
const installed = join(homedir(), '.cache/dynamo-node/vllm/venv/bin/python');

/** A Python with vLLM: `VLLM_PYTHON`, or what `npm run test:vllm` has installed. Undefined if there is none. */
export const python = process.env['VLLM_PYTHON'] ?? (existsSync(installed) ? installed : undefined);

/** vLLM on the CPU, with the NIXL connector. It imports for a minute or two. */
export class Worker {
  log = '';

  private constructor(
    private readonly child: ChildProcess,
    readonly url: string,
    readonly side: { readonly host: string; readonly port: number },
  ) {
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (part: Buffer) => (this.log = (this.log + part).slice(-4000)));
  }

  static async start(): Promise<Worker> {
    const [port, sidePort] = [await freePort(), await freePort()];
    const transfer = { kv_connector: 'NixlConnector', kv_role: 'kv_both', kv_load_failure_policy: 'recompute' };
    const args = [
      ...['-m', 'vllm.entrypoints.openai.api_server', '--host', '127.0.0.1', '--port', String(port)],
      ...['--model', model, '--served-model-name', 'tiny', '--dtype', 'float32', '--block-size', '32'],
      ...['--enforce-eager', '--max-model-len', '2048'],
      ...['--kv-transfer-config', JSON.stringify({ ...transfer, kv_buffer_device: 'cpu' })],
    ];
    const env = {
      VLLM_NIXL_SIDE_CHANNEL_HOST: '127.0.0.1',
      VLLM_NIXL_SIDE_CHANNEL_PORT: String(sidePort),
      VLLM_CPU_KVCACHE_SPACE: '1',
      VLLM_CPU_OMP_THREADS_BIND: 'nobind',
      OMP_NUM_THREADS: '1',
      VLLM_NO_USAGE_STATS: '1',
      HF_HUB_OFFLINE: '1',
    };
    // Its own group, because vLLM starts further processes.
    const child = spawn('nice', ['-n', '19', python as string, ...args], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    const worker = new Worker(child, `http://127.0.0.1:${port}`, { host: '127.0.0.1', port: sidePort });
    process.on('exit', () => worker.#kill());
    for (;;) {
      if (
        await fetch(`${worker.url}/health`).then(
          ({ ok }) => ok,
          () => false,
        )
      )
        return worker;
      if (child.exitCode !== null) throw new Error(`vLLM does not start:\n${worker.log}`);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }

  #kill(): void {
    try {
      process.kill(-(this.child.pid as number), 'SIGKILL');
    } catch {
      // It has ended.
    }
  }

  /** Ends it as a crash does. */
  async crash(): Promise<void> {
    const ended = once(this.child, 'exit');
    this.#kill();
    await ended;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
