import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { GpuInventory } from './gpu-allocator.js';

const QUERY = ['--query-gpu=index,uuid,memory.total', '--format=csv,noheader'];
const QUERY_TIMEOUT_MS = 20_000;

/** The devices that CUDA_VISIBLE_DEVICES names. CUDA ignores what comes after an index of -1 or an empty name. */
export function visibleDevices(text: string): GpuInventory {
  const names = text.split(',').map((name) => name.trim());
  const end = names.findIndex((name) => name === '' || name.startsWith('-') || name === 'NoDevFiles');
  return end === -1 ? names : names.slice(0, end);
}

/** The indices in the table that nvidia-smi writes. */
export function devicesOfTable(text: string): GpuInventory {
  return text.split('\n').flatMap((line) => /^\s*(\d+)\s*,\s*GPU-/.exec(line)?.[1] ?? []);
}

/** The GPUs that workers may use: those of CUDA_VISIBLE_DEVICES if it is set, else all; none without nvidia-smi. */
export async function gpuInventory(env: NodeJS.ProcessEnv): Promise<GpuInventory> {
  const { CUDA_VISIBLE_DEVICES: visible } = env;
  if (visible !== undefined) return visibleDevices(visible);
  try {
    const { stdout } = await promisify(execFile)('nvidia-smi', QUERY, { env, timeout: QUERY_TIMEOUT_MS });
    return devicesOfTable(stdout);
  } catch {
    return [];
  }
}
