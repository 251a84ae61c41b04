import { describe, expect, it } from 'vitest';

import type { NixlError } from '../../../lib/errors.js';
import { assertRequirement, type NixlExplanation, type NixlRequirement } from '../../../lib/nixl/diagnosis/explain.js';
import { choiceFor, parseProtocolReport, transportOf } from '../../../lib/nixl/diagnosis/ucx-report.js';

const head = '[1795387109.769032] [host:25967:0]  ';
const box = (...rows: string[]): string => rows.map((row) => `${head} |${row}|`).join('\n');

// As UCX 1.23 prints it with UCX_PROTO_INFO=y.
const REPORT = [
  box(
    ' one self cfg#0                     ',
    ' remote memory write by ucp_put* from host memory to host ',
    ' Range  | Description | Config ',
    ' 0..inf | zero-copy   | cma/memory ',
  ),
  box(
    ' one intra-node cfg#1 ',
    ' active message by ucp_am_send* from host memory ',
    '   Range    |    Description     |    Config     ',
    '          0 | short | tcp/lo ',
    ' 1..16515 | zero-copy | tcp/lo ',
  ),
  box(
    ' one intra-node cfg#1 ',
    ' remote memory read by ucp_get*(multi) into host memory from host ',
    ' Range | Description | Config ',
    ' 0..2K | software emulation | tcp/lo ',
    ' 2049..inf | zero-copy | cma/memory ',
  ),
].join('\n');

describe('parseProtocolReport', () => {
  it('returns one-sided operations with their connections and ranges', () => {
    const choices = parseProtocolReport(REPORT);
    expect(choices.map(({ connection, operation }) => [connection, operation])).toEqual([
      ['self cfg#0', 'WRITE'],
      ['intra-node cfg#1', 'READ'],
    ]);
    expect(choices[1]?.ranges).toEqual([
      { from: 0, to: 2048, how: 'software emulation', lanes: 'tcp/lo' },
      { from: 2049, to: Infinity, how: 'zero-copy', lanes: 'cma/memory' },
    ]);
  });

  it('returns the choice for a size', () => {
    const choices = parseProtocolReport(REPORT);
    expect(choiceFor(choices, 'READ', 100)).toMatchObject({ lanes: 'tcp/lo' });
    expect(choiceFor(choices, 'READ', 1 << 20)).toMatchObject({ lanes: 'cma/memory' });
  });

  it('ignores a connection of the process to itself', () => {
    expect(choiceFor(parseProtocolReport(REPORT), 'WRITE', 1)).toBeUndefined();
  });

  it('returns the last choice', () => {
    const later = box(
      ' one intra-node cfg#2 ',
      ' remote memory read by ucp_get* into host memory from host ',
      ' 0..inf | zero-copy | rc_mlx5/mlx5_0:1 ',
    );
    expect(choiceFor(parseProtocolReport(`${REPORT}\n${later}`), 'READ', 1 << 20)).toMatchObject({
      lanes: 'rc_mlx5/mlx5_0:1',
    });
  });

  it('returns nothing for other text', () => {
    expect(parseProtocolReport('hello\n| a table | of something |\n')).toEqual([]);
  });
});

describe('transportOf', () => {
  it.each([
    ['cma/memory', 'cma'],
    ['tcp/eth0', 'tcp'],
    ['rc_mlx5/mlx5_0:1', 'rdma'],
    ['dc_mlx5/mlx5_bond_0:1', 'rdma'],
    ['rc_verbs/mlx4_0:1', 'rdma'],
    ['srd/rdmap0s6:1', 'rdma'],
    ['50% on rc_mlx5/mlx5_0:1 and 50% on rc_mlx5/mlx5_1:1', 'rdma'],
    ['cuda_ipc/cuda', 'cuda-ipc'],
    ['cuda_copy/cuda', 'cuda-copy'],
    ['gdr_copy/cuda', 'cuda-copy'],
    ['sysv/memory', 'shared-memory'],
    ['posix/memory', 'shared-memory'],
    ['self/memory', 'self'],
    ['cuda_copy/cuda, tcp/eth0', 'tcp'],
  ])('maps %s to %s', (lanes, transport) => {
    expect(transportOf(lanes)).toBe(transport);
  });

  it('returns undefined for an unknown name', () => {
    expect(transportOf('warp/drive0')).toBeUndefined();
  });
});

describe('assertRequirement', () => {
  const TRANSPORTS = ['rdma', 'cuda-ipc', 'gds', 'cma', 'shared-memory', 'tcp'] as const;
  const found = (transport: NixlExplanation['transport'], evidence: NixlExplanation['evidence']): NixlExplanation => ({
    transport,
    evidence,
    detail: 'so it is',
    measured: undefined,
    lost: '',
  });
  const refusal = (required: NixlRequirement, explanation: NixlExplanation, missing?: string[]): NixlError => {
    try {
      assertRequirement(required, explanation, missing);
    } catch (error) {
      return error as NixlError;
    }
    throw new Error(`${required} was not rejected`);
  };

  it.each(TRANSPORTS)('accepts %s with evidence', (required) => {
    for (const evidence of ['reported', 'by-exclusion'] as const)
      expect(assertRequirement(required, found(required, evidence))).toMatchObject({ transport: required, evidence });
  });

  it.each(TRANSPORTS)('rejects %s that is only likely', (required) => {
    expect(refusal(required, found(required, 'inferred'))).toMatchObject({
      reason: 'nixl.transport',
      message: expect.stringContaining('likely but not certain (so it is)'),
    });
  });

  it.each(TRANSPORTS)('rejects every other transport than %s, and names what is missing', (required) => {
    for (const other of [...TRANSPORTS, 'cuda-copy', 'self', 'posix', 'mock'] as const) {
      if (other === required) continue;
      const error = refusal(required, found(other, 'reported'), ['device: none']);
      expect(error.message).toContain(
        `${required} was required, but ${other} carries the bytes (so it is). Missing: device: none`,
      );
      expect(error.details).toEqual({ missing: ['device: none'] });
    }
  });

  it('accepts every transport if none is required', () => {
    for (const transport of [...TRANSPORTS, 'self', 'mock'] as const)
      expect(assertRequirement('any', found(transport, 'inferred')).transport).toBe(transport);
  });
});
