import { describe, expect, test } from 'vitest';

import { choiceFor, parseProtocolReport, transportOf } from '../../lib/nixl/protocol-report.js';

const head = '[1795387109.769032] [host:25967:0]  ';
const box = (...rows: string[]): string => rows.map((row) => `${head} |${row}|`).join('\n');

// As UCX 1.23 prints it with UCX_PROTO_INFO=y.
const REPORT = [
  box(' one self cfg#0                     ', ' remote memory write by ucp_put* from host memory to host ', ' Range  | Description | Config ', ' 0..inf | zero-copy   | cma/memory '),
  box(' one intra-node cfg#1 ', ' active message by ucp_am_send* from host memory ', '   Range    |    Description     |    Config     ', '          0 | short | tcp/lo ', ' 1..16515 | zero-copy | tcp/lo '),
  box(' one intra-node cfg#1 ', ' remote memory read by ucp_get*(multi) into host memory from host ', ' Range | Description | Config ', ' 0..2K | software emulation | tcp/lo ', ' 2049..inf | zero-copy | cma/memory '),
].join('\n');

describe('what UCX reports', () => {
  test('one-sided operations with their connections and ranges', () => {
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

  test('the choice depends on the size', () => {
    const choices = parseProtocolReport(REPORT);
    expect(choiceFor(choices, 'READ', 100)).toMatchObject({ lanes: 'tcp/lo' });
    expect(choiceFor(choices, 'READ', 1 << 20)).toMatchObject({ lanes: 'cma/memory' });
  });

  test('a connection to oneself is no evidence for one to a peer', () => {
    expect(choiceFor(parseProtocolReport(REPORT), 'WRITE', 1)).toBeUndefined();
  });

  test('the last choice counts', () => {
    const later = box(' one intra-node cfg#2 ', ' remote memory read by ucp_get* into host memory from host ', ' 0..inf | zero-copy | rc_mlx5/mlx5_0:1 ');
    expect(choiceFor(parseProtocolReport(`${REPORT}\n${later}`), 'READ', 1 << 20)).toMatchObject({ lanes: 'rc_mlx5/mlx5_0:1' });
  });

  test('other text is no report', () => {
    expect(parseProtocolReport('hello\n| a table | of something |\n')).toEqual([]);
  });
});

describe('the names of transports', () => {
  test.each([
    ['cma/memory', 'cma'],
    ['tcp/eth0', 'tcp'],
    ['rc_mlx5/mlx5_0:1', 'rdma'],
    ['dc_mlx5/mlx5_bond_0:1', 'rdma'],
    ['rc_verbs/mlx4_0:1', 'rdma'],
    ['srd/rdmap0s6:1', 'rdma'],
    ['50% on rc_mlx5/mlx5_0:1 and 50% on rc_mlx5/mlx5_1:1', 'rdma'],
    ['cuda_ipc/cuda', 'cuda_ipc'],
    ['cuda_copy/cuda', 'cuda_copy'],
    ['gdr_copy/cuda', 'cuda_copy'],
    ['sysv/memory', 'shared-memory'],
    ['posix/memory', 'shared-memory'],
    ['self/memory', 'self'],
    ['cuda_copy/cuda, tcp/eth0', 'tcp'],
  ])('%s is %s', (lanes, transport) => {
    expect(transportOf(lanes)).toBe(transport);
  });

  test('a name that is not known is none of them', () => {
    expect(transportOf('warp/drive0')).toBeUndefined();
  });
});
