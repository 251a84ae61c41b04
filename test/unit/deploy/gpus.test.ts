import { describe, expect, it } from 'vitest';

import { GpuAllocator } from '../../../lib/deploy/local/gpu-allocator.js';
import { devicesOfTable, gpuInventory, visibleDevices } from '../../../lib/deploy/local/gpu-inventory.js';

describe('GpuAllocator', () => {
  it('grants whole GPUs in their order', () => {
    const gpus = new GpuAllocator(['0', '1', '2', '3']);
    expect(gpus.allocate('A', 1).ids).toEqual(['0']);
    expect(gpus.allocate('B', 2).ids).toEqual(['1', '2']);
    expect(gpus.allocate('C', 0).ids).toEqual([]);
    expect(gpus.left).toBe(1);
  });

  it('packs equal fractions on one GPU, and other fractions on another', () => {
    const gpus = new GpuAllocator(['0', '1', '2']);
    const granted = [0.5, 0.5, 0.5, 0.25].map((fraction) => gpus.allocate('A', fraction).ids[0]);
    expect(granted).toEqual(['0', '0', '1', '2']);
  });

  it('packs ten workers of a tenth on one GPU', () => {
    const gpus = new GpuAllocator(['0', '1']);
    const granted = Array.from({ length: 11 }, () => gpus.allocate('A', 0.1).ids[0]);
    expect(granted).toEqual([...Array<string>(10).fill('0'), '1']);
  });

  it('grants a released GPU again, and a shared one after its last worker', () => {
    const gpus = new GpuAllocator(['0', '1']);
    const whole = gpus.allocate('A', 1);
    const halves = [gpus.allocate('B', 0.5), gpus.allocate('B', 0.5)] as const;
    gpus.release(halves[0]);
    expect(gpus.left).toBe(0);
    gpus.release(halves[1]);
    gpus.release(whole);
    expect(gpus.allocate('C', 2).ids).toEqual(['0', '1']);
  });

  it('rejects what is too much with the service, what it wants and what is left', () => {
    const gpus = new GpuAllocator(['0', '1']);
    gpus.allocate('A', 1);
    const shortage = { code: 'E_GPU_SHORT', exitCode: 69 };
    expect(() => gpus.allocate('B', 2)).toThrow(
      expect.objectContaining({ ...shortage, message: 'service B: a worker needs 2 GPUs, but 1 of 2 are left' }),
    );
    gpus.allocate('B', 1);
    expect(() => gpus.allocate('C', 0.5)).toThrow('service C: a worker needs 0.5 GPU, but 0 of 2 are left');
    expect(() => new GpuAllocator([], true).allocate('D', 1)).toThrow(
      'service D: a worker needs 1 GPU, but 0 of 0 are left',
    );
  });

  it('shares the GPUs with the fewest workers, with a warning, when that is allowed', () => {
    const warnings: string[] = [];
    const gpus = new GpuAllocator(['0', '1'], true, (message) => warnings.push(message));
    const [first] = [gpus.allocate('A', 1), gpus.allocate('A', 1)];
    expect(gpus.allocate('B', 1).ids).toEqual(['0']);
    gpus.release(first as ReturnType<GpuAllocator['allocate']>);
    expect(gpus.left).toBe(0);
    expect(gpus.allocate('B', 3).ids).toEqual(['0', '1']);
    expect(warnings).toEqual([
      'service B: a worker needs 1 GPU, but 0 of 2 are left; workers share GPUs',
      'service B: a worker needs 3 GPUs, but 0 of 2 are left; workers share GPUs',
    ]);
  });
});

describe('gpuInventory', () => {
  it.each([
    ['0,1', ['0', '1']],
    [' 2 , GPU-8d1c ', ['2', 'GPU-8d1c']],
    ['0,-1,1', ['0']],
    ['', []],
    ['NoDevFiles', []],
  ])('returns the devices of CUDA_VISIBLE_DEVICES=%s', async (text, expected) => {
    expect(visibleDevices(text)).toEqual(expected);
    expect(await gpuInventory({ CUDA_VISIBLE_DEVICES: text })).toEqual(expected);
  });

  it('returns the indices of the table of nvidia-smi', () => {
    expect(devicesOfTable('0, GPU-aa11, 143771 MiB\n1, GPU-bb22, 143771 MiB\n')).toEqual(['0', '1']);
    expect(devicesOfTable('No devices were found\n')).toEqual([]);
  });

  it('returns none without nvidia-smi', async () => {
    expect(await gpuInventory({ PATH: '/nowhere' })).toEqual([]);
  });
});
