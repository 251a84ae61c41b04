import { spawnSync } from 'node:child_process';
import { loadNixl, type MemoryDescriptor, type NixlAgent, NixlError, nixlDoctor, nixlExplain } from 'dynamo-node';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';

import { exclude, REPORTING } from '../../../lib/nixl/diagnosis/exclusion.js';
import { probe } from '../../../lib/nixl/diagnosis/probe.js';
import type { PairAnswer, PairQuestion } from '../../../lib/nixl/diagnosis/probe-pair.js';
import { agentOf, nixlMissing, useTransport } from '../../helpers/nixl/library.js';
import { waitFor } from '../../helpers/wait.js';

useTransport('ucx');

const transports = process.env['UCX_TLS'];

afterEach(() => {
  if (transports === undefined) delete process.env['UCX_TLS'];
  else process.env['UCX_TLS'] = transports;
});

const BYTES = 1 << 20;

async function target(): Promise<{ agent: NixlAgent; peer: Uint8Array; remote: MemoryDescriptor }> {
  const agent = await agentOf('ucx', 'explained');
  const region = await agent.allocate(BYTES);
  return { agent, peer: await agent.metadata(), remote: region.descriptor() };
}

/** UCX in processes that are asked tells nothing of what it chooses, as versions without that report. */
function silence(): void {
  const { UCX_PROTO_INFO } = REPORTING;
  REPORTING.UCX_PROTO_INFO = 'n';
  onTestFinished(() => void (REPORTING.UCX_PROTO_INFO = UCX_PROTO_INFO));
}

const failure = (promise: Promise<unknown>): Promise<NixlError> =>
  promise.then(
    (value) => Promise.reject(new Error(`not refused: ${JSON.stringify(value)}`)),
    (error: unknown) => error as NixlError,
  );

describe('nixlExplain on UCX', () => {
  beforeEach((context) => {
    const missing = nixlMissing();
    if (missing !== undefined) context.skip(missing);
  });

  test('tells what carries the bytes, in the words of UCX, with what it measured', async () => {
    const { peer, remote } = await target();
    const explained = await nixlExplain({ peer, remote });
    expect(explained).toMatchObject({ transport: 'cma', evidence: 'reported', lost: '' });
    expect(explained.detail).toContain('cma/memory');
    expect(explained.measured?.bytesPerSecond).toBeGreaterThan(1e6);
    expect(explained.measured?.latencyUs).toBeGreaterThan(0.1);
  });

  test('is content with what was required, and refuses all else', async () => {
    const { peer, remote } = await target();
    expect(await nixlExplain({ peer, remote }, { require: 'cma' })).toMatchObject({
      transport: 'cma',
      evidence: 'reported',
    });
    const refused = await failure(nixlExplain({ peer, remote }, { require: 'tcp' }));
    expect(refused).toBeInstanceOf(NixlError);
    expect(refused).toMatchObject({ reason: 'nixl.transport', code: 'DYN_UNAVAILABLE' });
    expect(refused.message).toContain('tcp was required, but cma carries the bytes');
  });

  test('ends with its signal, before and during its probes, as the doctor does', async () => {
    const { peer, remote } = await target();
    for (const ask of [
      (signal: AbortSignal) => nixlExplain({ peer, remote }, { signal }),
      (signal: AbortSignal) => nixlDoctor({ signal }),
    ]) {
      await expect(ask(AbortSignal.abort(new Error('before')))).rejects.toThrow('before');
      const controller = new AbortController();
      const asked = ask(controller.signal);
      setTimeout(() => controller.abort(new Error('enough')), 50);
      await expect(asked).rejects.toThrow('enough');
    }
    await waitFor(
      'the end of the probes',
      () => spawnSync('pgrep', ['-P', String(process.pid), '-f', 'probe-(pair|files)'], { encoding: 'utf8' }).stdout,
      (found) => found === '',
    );
  });

  test('over TCP alone it is TCP', async () => {
    process.env['UCX_TLS'] = 'tcp';
    const { peer, remote } = await target();
    const explained = await nixlExplain({ peer, remote }, { require: 'tcp' });
    expect(explained).toMatchObject({ transport: 'tcp', evidence: 'reported' });
    expect((await failure(nixlExplain({ peer, remote }, { require: 'cma' }))).message).toContain(
      'cma was required, but tcp',
    );
  });

  test('RDMA where there is none is refused with what is missing, not replaced', async (context) => {
    const { peer, remote } = await target();
    const refused = await failure(
      nixlExplain({ peer, remote }, { require: 'rdma' }).then((explained) =>
        context.skip(`there is RDMA: ${explained.detail}`),
      ),
    );
    expect(refused).toMatchObject({ reason: 'nixl.transport' });
    const { missing } = refused.details as { missing: string[] };
    expect(missing.length).toBeGreaterThan(0);
    for (const reason of missing) expect(reason).toMatch(/^(device|driver|module|port|memlock): /);
    expect(refused.message).toContain(missing[0] as string);
  });

  test('a GPU transport without a GPU is refused with its reason', async (context) => {
    if (loadNixl().cuda.available) return context.skip('there is a GPU');
    const { peer, remote } = await target();
    for (const [required, part] of [
      ['cuda_ipc', 'no CUDA driver'],
      ['gds', 'GDS does not load'],
    ] as const) {
      const refused = await failure(nixlExplain({ peer, remote }, { require: required }));
      expect(refused.message).toContain(part);
    }
  });

  test('shared memory is not claimed where CMA carries the bytes', async () => {
    const { peer, remote } = await target();
    const refused = await failure(nixlExplain({ peer, remote }, { require: 'shared-memory' }));
    expect(refused.message).toContain('shared-memory was required, but cma');
  });

  test('within a process it is inferred, which meets no requirement', async () => {
    const { agent, remote } = await target();
    expect(await nixlExplain({ peer: agent, remote })).toMatchObject({ transport: 'cma', evidence: 'inferred' });
    expect((await failure(nixlExplain({ peer: agent, remote }, { require: 'cma' }))).message).toContain(
      'likely but not certain',
    );
  });

  test.each([
    ['cma', '', 'of rdma, cma only cma carries them so'],
    ['tcp', 'tcp', 'bytes came through TCP sockets'],
    ['cma', 'cma,tcp', 'the bytes come through no socket'],
  ])('%s is found by exclusion where UCX says nothing and UCX_TLS is %j', async (transport, tls, words) => {
    if (tls !== '') process.env['UCX_TLS'] = tls;
    const { peer, remote } = await target();
    const asked: PairQuestion = {
      path: loadNixl().path,
      metadata: Buffer.from(peer).toString('base64'),
      remote,
      local: 'DRAM',
      localDevice: 0,
      params: {},
      timeoutMs: 20_000,
    };
    const { answer } = await probe<PairAnswer>('test', 'probe-pair', asked, { timeoutMs: 60_000 });
    const found = await exclude('test', asked, answer, { timeoutMs: 60_000 });
    expect(found).toMatchObject({ transport, evidence: 'by-exclusion' });
    expect(found?.detail).toContain(words);
  });

  test.each([
    ['cma', '', 'the bytes come through no socket'],
    ['tcp', 'tcp', 'UCX_TLS=tcp allows nothing else'],
    ['tcp', 'tcp,self,posix', 'bytes came through TCP sockets'],
  ] as const)(
    'a requirement of %s is met by exclusion where UCX says nothing and UCX_TLS is %j',
    async (transport, tls, words) => {
      silence();
      if (tls !== '') process.env['UCX_TLS'] = tls;
      const { peer, remote } = await target();
      const explained = await nixlExplain({ peer, remote }, { require: transport });
      expect(explained).toMatchObject({ transport, evidence: 'by-exclusion', detail: expect.stringContaining(words) });
      expect(explained.measured?.bytesPerSecond).toBeGreaterThan(1e6);
      const other = transport === 'tcp' ? 'cma' : 'tcp';
      expect((await failure(nixlExplain({ peer, remote }, { require: other }))).message).toContain(
        `${other} was required, but ${transport} carries the bytes`,
      );
    },
  );

  test('does not change a byte of the peer', async () => {
    const agent = await agentOf('ucx', 'unchanged');
    const region = await agent.allocate(BYTES);
    (region.view as Uint8Array).fill(0x5a);
    await nixlExplain({ peer: await agent.metadata(), remote: region.descriptor() });
    expect((region.view as Uint8Array).every((byte) => byte === 0x5a)).toBe(true);
  });

  test('files are moved by their backend', async () => {
    const { peer, remote } = await target();
    expect(await nixlExplain({ peer, remote: { ...remote, memory: 'FILE' } })).toMatchObject({
      transport: 'posix',
      evidence: 'by-exclusion',
    });
    expect(await nixlExplain({ peer, remote: { ...remote, memory: 'FILE' } }, { fileBackend: 'GDS' })).toMatchObject({
      transport: 'gds',
      evidence: 'inferred',
    });
  });

  test('a peer that cannot be reached is an error with the reason', async () => {
    const { peer, remote } = await target();
    const refused = await failure(nixlExplain({ peer: peer.subarray(0, peer.length / 2), remote }));
    expect(refused).toMatchObject({ reason: 'nixl.probe' });
    expect(refused.message).toContain('metadata');
  });
});

describe('nixlExplain on the mock', () => {
  const library = loadNixl({ mode: 'mock' });
  const remote: MemoryDescriptor = { agent: 'x', address: '0x1000', bytes: 1, memory: 'DRAM', device: 0 };

  test('says so, and meets no requirement', async () => {
    const peer = new Uint8Array(1);
    expect(await nixlExplain({ peer, remote }, { library })).toMatchObject({ transport: 'mock' });
    expect((await failure(nixlExplain({ peer, remote }, { library, require: 'tcp' }))).message).toContain('the mock');
  });

  test('wrong arguments are refused with their path', async () => {
    const peer = new Uint8Array(1);
    await expect(nixlExplain({ peer: 'x' as unknown as Uint8Array, remote }, { library })).rejects.toThrow(
      /nixlExplain pair\.peer/,
    );
    await expect(nixlExplain({ peer, remote }, { library, require: 'warp' as 'any' })).rejects.toThrow(
      /options\.require/,
    );
    await expect(nixlExplain({ peer, remote, local: 'FILE' as 'DRAM' }, { library })).rejects.toThrow(/pair\.local/);
    await expect(nixlExplain({ peer, remote }, { library, timeoutMs: 0 })).rejects.toThrow(/options\.timeoutMs/);
  });
});
