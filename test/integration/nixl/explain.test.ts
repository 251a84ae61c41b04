import { spawnSync } from 'node:child_process';
import { loadNixl, type MemoryDescriptor, type NixlAgent, NixlError, nixlDoctor, nixlExplain } from 'dynamo-node';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';

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

/** Makes UCX report nothing in probes, like versions without that report. */
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

  it('returns the transport that UCX reports, with measurements', async () => {
    const { peer, remote } = await target();
    const explained = await nixlExplain({ peer, remote });
    expect(explained).toMatchObject({ transport: 'cma', evidence: 'reported', lost: '' });
    expect(explained.detail).toContain('cma/memory');
    expect(explained.measured?.bytesPerSecond).toBeGreaterThan(1e6);
    expect(explained.measured?.latencyUs).toBeGreaterThan(0.1);
  });

  it('accepts the required transport, and rejects every other', async () => {
    const { peer, remote } = await target();
    expect(await nixlExplain({ peer, remote }, { require: 'cma' })).toMatchObject({
      transport: 'cma',
      evidence: 'reported',
    });
    const rejected = await failure(nixlExplain({ peer, remote }, { require: 'tcp' }));
    expect(rejected).toBeInstanceOf(NixlError);
    expect(rejected).toMatchObject({ reason: 'nixl.transport', code: 'DYN_UNAVAILABLE' });
    expect(rejected.message).toContain('tcp was required, but cma carries the bytes');
  });

  it('rejects with the reason of its signal, before and during its probes, as nixlDoctor does', async () => {
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

  it('returns TCP if UCX_TLS allows only TCP', async () => {
    process.env['UCX_TLS'] = 'tcp';
    const { peer, remote } = await target();
    const explained = await nixlExplain({ peer, remote }, { require: 'tcp' });
    expect(explained).toMatchObject({ transport: 'tcp', evidence: 'reported' });
    expect((await failure(nixlExplain({ peer, remote }, { require: 'cma' }))).message).toContain(
      'cma was required, but tcp',
    );
  });

  it('rejects a requirement of RDMA without RDMA, and names what is missing', async (context) => {
    const { peer, remote } = await target();
    const rejected = await failure(
      nixlExplain({ peer, remote }, { require: 'rdma' }).then((explained) =>
        context.skip(`there is RDMA: ${explained.detail}`),
      ),
    );
    expect(rejected).toMatchObject({ reason: 'nixl.transport' });
    const { missing } = rejected.details as { missing: string[] };
    expect(missing.length).toBeGreaterThan(0);
    for (const reason of missing) expect(reason).toMatch(/^(device|driver|module|port|memlock): /);
    expect(rejected.message).toContain(missing[0] as string);
  });

  it('rejects a GPU transport without a GPU, with the reason', async (context) => {
    if (loadNixl().cuda.available) return context.skip('there is a GPU');
    const { peer, remote } = await target();
    for (const [required, part] of [
      ['cuda-ipc', 'no CUDA driver'],
      ['gds', 'GDS does not load'],
    ] as const) {
      const rejected = await failure(nixlExplain({ peer, remote }, { require: required }));
      expect(rejected.message).toContain(part);
    }
  });

  it('rejects a requirement of shared memory if CMA carries the bytes', async () => {
    const { peer, remote } = await target();
    const rejected = await failure(nixlExplain({ peer, remote }, { require: 'shared-memory' }));
    expect(rejected.message).toContain('shared-memory was required, but cma');
  });

  it('returns inferred evidence within a process, which satisfies no requirement', async () => {
    const { agent, remote } = await target();
    expect(await nixlExplain({ peer: agent, remote })).toMatchObject({ transport: 'cma', evidence: 'inferred' });
    expect((await failure(nixlExplain({ peer: agent, remote }, { require: 'cma' }))).message).toContain(
      'likely but not certain',
    );
  });

  it.each([
    ['cma', '', 'of rdma, cma only cma carries them that way'],
    ['tcp', 'tcp', 'bytes arrived through TCP sockets'],
    ['cma', 'cma,tcp', 'the bytes arrive through no socket'],
  ])('finds %s by exclusion if UCX reports nothing and UCX_TLS is %j', async (transport, tls, words) => {
    if (tls !== '') process.env['UCX_TLS'] = tls;
    const { peer, remote } = await target();
    const question: PairQuestion = {
      path: loadNixl().path,
      metadata: Buffer.from(peer).toString('base64'),
      remote,
      local: 'DRAM',
      localDevice: 0,
      params: {},
      timeoutMs: 20_000,
    };
    const { answer } = await probe<PairAnswer>('test', 'probe-pair', question, { timeoutMs: 60_000 });
    const found = await exclude('test', question, answer, { timeoutMs: 60_000 });
    expect(found).toMatchObject({ transport, evidence: 'by-exclusion' });
    expect(found?.detail).toContain(words);
  });

  it.each([
    ['cma', '', 'the bytes arrive through no socket'],
    ['tcp', 'tcp', 'UCX_TLS=tcp allows no other transport'],
    ['tcp', 'tcp,self,posix', 'bytes arrived through TCP sockets'],
  ] as const)(
    'accepts a requirement of %s by exclusion if UCX reports nothing and UCX_TLS is %j',
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

  it('does not change the memory of the peer', async () => {
    const agent = await agentOf('ucx', 'unchanged');
    const region = await agent.allocate(BYTES);
    (region.view as Uint8Array).fill(0x5a);
    await nixlExplain({ peer: await agent.metadata(), remote: region.descriptor() });
    expect((region.view as Uint8Array).every((byte) => byte === 0x5a)).toBe(true);
  });

  it('needs no more than the metadata of the region, and reaches no other one with it', async () => {
    const agent = await agentOf('ucx', 'part');
    const [region, other] = [await agent.allocate(BYTES), await agent.allocate(BYTES)];
    const peer = await agent.metadata({ regions: [region] });
    expect((await nixlExplain({ peer, remote: region.descriptor() })).measured?.bytesPerSecond).toBeGreaterThan(1e6);
    expect((await failure(nixlExplain({ peer, remote: other.descriptor() }))).message).toContain('metadata');
  });

  it('returns the backend of files', async () => {
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

  it('rejects with the reason if the peer cannot be reached', async () => {
    const { peer, remote } = await target();
    const rejected = await failure(nixlExplain({ peer: peer.subarray(0, peer.length / 2), remote }));
    expect(rejected).toMatchObject({ reason: 'nixl.probe' });
    expect(rejected.message).toContain('metadata');
  });
});

describe('nixlExplain on the mock', () => {
  const library = loadNixl({ mode: 'mock' });
  const remote: MemoryDescriptor = { agent: 'x', address: '0x1000', bytes: 1, memory: 'DRAM', device: 0 };

  it('returns the mock, which satisfies no requirement', async () => {
    const peer = new Uint8Array(1);
    expect(await nixlExplain({ peer, remote }, { library })).toMatchObject({ transport: 'mock' });
    expect((await failure(nixlExplain({ peer, remote }, { library, require: 'tcp' }))).message).toContain('the mock');
  });

  it('rejects wrong arguments with their path', async () => {
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
