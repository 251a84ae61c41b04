import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkConfig, defineService, graph, mergeConfig } from 'dynamo-node/sdk';
import { describe, expect, it, onTestFinished } from 'vitest';
import { z } from 'zod';

import { parseConfig, readConfig } from '../../../lib/deploy/config-file.js';

function fileOf(text: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'dynamo-config-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'agg.yaml');
  writeFileSync(path, text);
  return path;
}

const AGG = `Common:
  model: &model Qwen/Qwen3-0.6B
  block-size: 64

Frontend:
  served_model_name: *model
  common-configs: [model]

Worker:
  ServiceArgs:
    workers: 2
    resources: {gpu: 1}
    envs:
      A: "1"
  common-configs: [model, block-size]
`;

const services = ['Frontend', 'Worker'];
const silent = { env: {}, warn: () => {} };

describe('a configuration file', () => {
  it('has sections of services, ServiceArgs and common keys', async () => {
    const config = await readConfig({ services, file: fileOf(AGG), ...silent });
    expect(config.services).toEqual({
      Frontend: { config: { served_model_name: 'Qwen/Qwen3-0.6B', model: 'Qwen/Qwen3-0.6B' } },
      Worker: {
        workers: 2,
        resources: { gpu: 1 },
        env: { A: '1' },
        config: { model: 'Qwen/Qwen3-0.6B', 'block-size': 64 },
      },
    });
  });

  it('loses to the command line', async () => {
    const overrides = ['--Worker.ServiceArgs.workers=8', '--Worker.block-size=16'];
    const config = await readConfig({ services, file: fileOf(AGG), overrides, ...silent });
    expect(config.services.Worker).toMatchObject({ workers: 8, resources: { gpu: 1 }, config: { 'block-size': 16 } });
  });

  it.each([
    ['Worker:\n  ServiceArgs:\n    workers: two\n', /workers: expected an integer, got "two" \(agg\.yaml:3:14\)$/],
    ['Worker:\n  ServiceArgs: {worker: 2}\n', /worker: unknown key; .* \(agg\.yaml:2:17\)$/],
    ['Wroker:\n  a: 1\n', /Wroker: unknown service; .* \(agg\.yaml:1:1\)$/],
    ['Worker:\n  common-configs:\n    - model\n', /no key 'model' \(agg\.yaml:3:7\)$/],
    ['Worker: [1]\n', /Worker: expected an object, got an array \(agg\.yaml:1:9\)$/],
    ['Worker:\n  a: 1\n  a: 2\n', /Map keys must be unique \(agg\.yaml:3:3\)$/],
    [
      'Worker:\n  a: 1\n---\nWorker:\n  a: 2\n',
      /expected one document, got several: '---' begins another \(agg\.yaml:3:1\)$/,
    ],
    ['Worker:\n\ta: 1\n', /Tabs are not allowed as indentation \(agg\.yaml:2:1\)$/],
    ['Worker: {a: 1\n', /\(agg\.yaml:2:1\)$/],
    ['Worker: *none\n', /none .*\(agg\.yaml(:1:9)?\)$/],
  ])('%j is rejected with the line and the column', (text, message) => {
    const read = () => mergeConfig(services, [parseConfig('agg.yaml', text)]);
    expect(read).toThrow(expect.objectContaining({ name: 'ConfigError', message: expect.stringMatching(message) }));
  });

  it('gives what a schema refuses its line and column', async () => {
    const config = z.object({ size: z.number(), inner: z.object({ list: z.array(z.string()) }) });
    const one = graph('g', defineService('Worker', { config }));
    const text = 'Worker:\n  size: many\n  inner:\n    list:\n      - a\n      - 5\n';
    const merged = mergeConfig(['Worker'], [parseConfig('agg.yaml', text)]);
    const faults = await checkConfig(one, merged).catch((error: Error) => error.message.split('\n'));
    expect(faults).toEqual([
      'Worker.size: Invalid input: expected number, received string (agg.yaml:2:9)',
      'Worker.inner.list[1]: Invalid input: expected string, received number (agg.yaml:6:9)',
    ]);
  });

  it('that is a folder is rejected with its path', async () => {
    await expect(readConfig({ services, file: tmpdir(), ...silent })).rejects.toMatchObject({
      reason: 'config.unreadable',
      message: expect.stringContaining(`configuration file ${tmpdir()}: EISDIR`),
    });
  });

  it('that does not exist is rejected with its path', async () => {
    await expect(readConfig({ services, file: '/no/such/agg.yaml', ...silent })).rejects.toMatchObject({
      name: 'ConfigError',
      reason: 'config.unreadable',
      message: expect.stringContaining("'/no/such/agg.yaml'"),
    });
  });

  it('that repeats an alias without end is rejected', () => {
    const levels = Array.from(
      { length: 9 },
      (_, level) => `  l${level + 1}: &l${level + 1} [${`*l${level}, `.repeat(9)}]`,
    );
    const text = `Worker:\n  l0: &l0 x\n${levels.join('\n')}\n`;
    expect(() => parseConfig('agg.yaml', text)).toThrow(/Excessive alias count .*\(agg\.yaml\)$/);
  });
});

describe('DYN_DEPLOYMENT_CONFIG', () => {
  const read = async (value: string, file?: string, overrides: string[] = []) => {
    const warnings: string[] = [];
    const warn = (message: string) => warnings.push(message);
    const config = await readConfig({ services, file, overrides, env: { DYN_DEPLOYMENT_CONFIG: value }, warn });
    return { services: config.services, warnings };
  };

  it('replaces the file and the command line with a warning', async () => {
    const file = fileOf(AGG);
    expect(await read('{"Worker": {"a": 1}}', file, ['--Worker.b=2'])).toEqual({
      services: { Worker: { config: { a: 1 } } },
      warnings: [`DYN_DEPLOYMENT_CONFIG is set: it replaces ${file} --Worker.b=2`],
    });
  });

  it('gives no warning if it replaces nothing', async () => {
    expect((await read('{"Worker": {"a": 1}}')).warnings).toEqual([]);
  });

  it('counts as absent if it is empty', async () => {
    expect((await read('', undefined, ['--Worker.b=2'])).services).toEqual({ Worker: { config: { b: 2 } } });
  });

  it('is rejected with its name if it is not JSON or has wrong values', async () => {
    await expect(read('{')).rejects.toThrow(/^expected JSON: .*\(DYN_DEPLOYMENT_CONFIG\)$/);
    await expect(read('{"Worker": {"ServiceArgs": {"workers": "x"}}}')).rejects.toThrow(
      'Worker.ServiceArgs.workers: expected an integer, got "x" (DYN_DEPLOYMENT_CONFIG)',
    );
  });
});
