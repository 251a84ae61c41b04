import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCommand, startCommand } from '../../helpers/cli/command.js';
import { dynamo } from '../../helpers/cli/process.js';
import { closeAfterEach } from '../../helpers/closing.js';
import { missingPeers } from '../../helpers/interop/peers.js';
import { root } from '../../helpers/project.js';
import { describeUnless } from '../../helpers/skipping.js';
import { waitFor } from '../../helpers/wait.js';

process.env['DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS'] = '0';

const onEnd = closeAfterEach();
let folder: string;
let env: Record<string, string | undefined>;

const argumentsFile = () => join(folder, 'arguments.json');

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dynamo-python-'));
  const python = join(folder, 'python');
  const program = join(root, 'test/helpers/cli/programs/python-engine.ts');
  const lines = [
    '#!/bin/sh',
    '# The check of the modules finds them all.',
    '[ "$1" = -c ] && exit 0',
    `exec '${process.execPath}' --import '${join(root, 'node_modules/tsx/dist/loader.mjs')}' '${program}' "$@"`,
  ];
  await writeFile(python, lines.join('\n'));
  await chmod(python, 0o755);
  env = {
    ...process.env,
    DYN_PYTHON: python,
    ARGUMENTS_FILE: argumentsFile(),
    TSX_TSCONFIG_PATH: join(root, 'tsconfig.check.json'),
  };
});

afterEach(() => rm(folder, { recursive: true, maxRetries: 5 }));

/** The arguments of the engine, once it has started. */
const received = async () => JSON.parse(await readFile(argumentsFile(), 'utf8')) as readonly string[];

/** The processes of this test, by a variable that they inherit: ids inside of a PID namespace differ. */
async function processes(): Promise<string[]> {
  const ids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const environments = await Promise.all(ids.map((id) => readFile(`/proc/${id}/environ`, 'utf8').catch(() => '')));
  return ids.filter((_, index) => environments[index]?.includes(`ARGUMENTS_FILE=${argumentsFile()}`));
}

const noneIsLeft = () => waitFor('no process of the engine', processes, (left) => left.length === 0, 10_000);

describe('dynamo run with a Python engine', () => {
  it('starts it with the flags of vLLM, waits until it has registered, and ends it', async () => {
    const args = ['run', 'out=vllm', 'org/model', '--json', '--tensor-parallel-size=2', '--context-length=99'];
    const more = ['--disaggregation-mode=decode', '--kv-cache-block-size=32', '--', '--gpu-memory-utilization', '0.8'];
    const { code, stdout, stderr } = await runCommand([...args, ...more], { env, input: 'good morning' });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '[vllm] loading weights\n' });
    expect(JSON.parse(stdout)).toMatchObject({ response: 'good morning' });
    expect(await received()).toEqual(
      (
        '-m dynamo.vllm --model org/model --served-model-name org/model --endpoint dyn://dynamo.backend.generate ' +
        '--max-model-len 99 --block-size 32 --tensor-parallel-size 2 --disaggregation-mode decode ' +
        '--kv-transfer-config {"kv_connector":"NixlConnector","kv_role":"kv_consumer"} ' +
        '--gpu-memory-utilization 0.8'
      ).split(' '),
    );
  });

  it('turns a file of options into flags of SGLang, and waits for the instance of a worker', async () => {
    const file = join(folder, 'extra.json');
    await writeFile(file, '{"mem_fraction_static": 0.7, "trust-remote-code": true, "skip": false, "lora": {"a": 1}}');
    const args = ['run', 'in=dyn://a.b.c', 'out=sglang', 'org/model', '--json', '--base-gpu-id=1', '--num-nodes=2'];
    const command = startCommand([...args, '--extra-engine-args', file], { env: { ...env, DYN_FILE_KV: folder } });
    await waitFor(
      'the worker',
      () => command.stdout,
      (text) => text !== '',
      60_000,
    );
    expect(command.json).toEqual({ endpoint: 'a.b.c', model: 'org/model' });
    command.signal('SIGTERM');
    expect(await command.exitCode).toBe(143);
    expect((await received()).slice(8)).toEqual([
      ...['--base-gpu-id', '1', '--nnodes', '2', '--mem-fraction-static', '0.7', '--trust-remote-code'],
      ...['--lora', '{"a":1}'],
    ]);
  });

  it('reports the end of its log if it ends first', async () => {
    const options = { env: { ...env, ENGINE_FAULT: 'CUDA out of memory' }, input: 'Why?' };
    const { code, stderr } = await runCommand(['run', 'out=trtllm', 'org/model'], options);
    expect(code).toBe(1);
    expect(stderr).toContain('error[E_ENGINE_FAILED]: trtllm ended (code 3)\nCUDA out of memory');
  });

  it('ends it when the wait for it is interrupted', async () => {
    const command = startCommand(['run', 'in=http', 'out=vllm', 'org/model', '--http-port=0'], { env });
    await waitFor(
      'the start of the engine',
      () => command.stderr,
      (text) => text.includes('loading weights'),
      60_000,
    );
    command.signal('SIGINT');
    expect(await command.exitCode).toBe(130);
    await noneIsLeft();
  });

  it('leaves no process if it is killed with -9', async () => {
    const command = dynamo(['run', 'in=none', 'out=vllm', 'org/model'], { env: { ...env, DYN_FILE_KV: folder } });
    onEnd(() => command.stop());
    const serves = (text: string) => text.includes('serving org/model');
    await waitFor('the worker', () => command.output, serves, 60_000);
    expect((await processes()).length).toBeGreaterThan(1);
    command.kill('SIGKILL');
    await noneIsLeft();
  });

  it('rejects an option that the engine does not have', async () => {
    expect(await runCommand(['run', 'out=trtllm', 'a/b', '--num-nodes=2'], { env, input: '' })).toMatchObject({
      code: 64,
      stderr: expect.stringContaining('out=trtllm does not have the option --num-nodes'),
    });
  });

  it('says how to install Dynamo if there is no Python', async () => {
    const options = { env: { ...env, DYN_PYTHON: join(folder, 'nope') }, input: '' };
    expect(await runCommand(['run', 'out=vllm', 'a/b'], options)).toMatchObject({
      code: 69,
      stderr: expect.stringContaining("nope: not found). Install with: pip install 'ai-dynamo[vllm]'"),
    });
  });
});

describeUnless(missingPeers, 'dynamo run with the wheel of Dynamo', () => {
  it.each([
    ['vllm', 'vllm'],
    ['sglang', 'sglang'],
    ['trtllm', 'tensorrt_llm'],
  ])('says that the engine of %s is not installed', async (engine, module) => {
    const python = join(root, '.peers/bin/python');
    const options = { env: { ...env, DYN_PYTHON: python }, input: '' };
    const { code, stderr } = await runCommand(['run', `out=${engine}`, 'a/b'], options);
    expect(code).toBe(69);
    expect(stderr).toContain(
      `error[E_ENGINE_MISSING]: engine '${engine}' is not installed: ${python} -m dynamo.${engine} failed ` +
        `(No module named '${module}'). Install with: pip install 'ai-dynamo[${engine}]'`,
    );
  });
});
