/** What carries the bytes of a transfer. `self` is a copy within one process. `mock` has no transport. */
export type NixlTransport =
  | 'rdma'
  | 'tcp'
  | 'cuda-ipc'
  | 'cma'
  | 'shared-memory'
  | 'cuda-copy'
  | 'self'
  | 'gds'
  | 'posix'
  | 'mock';

/** @internal A choice that UCX made for one operation and one connection. */
export interface ProtocolChoice {
  /** For example `intra-node cfg#1`. */
  readonly connection: string;
  readonly operation: 'READ' | 'WRITE';
  readonly ranges: readonly {
    readonly from: number;
    readonly to: number;
    readonly how: string;
    readonly lanes: string;
  }[];
}

/** UCX's names of transports within lanes. Transports that leave the machine come first: of two lanes they decide. */
const NAMES: readonly [RegExp, NixlTransport][] = [
  [/\b(rc|dc|ud|srd|gga)(_\w+)?\//, 'rdma'],
  [/\btcp\//, 'tcp'],
  [/\bcuda_ipc\b/, 'cuda-ipc'],
  [/\bcma\//, 'cma'],
  [/\b(sysv|posix|knem|xpmem)\//, 'shared-memory'],
  [/\b(cuda|gdr)_copy\b/, 'cuda-copy'],
  [/\bself\//, 'self'],
];

/** @internal The transport of UCX's lanes, such as `cma/memory` or `rc_mlx5/mlx5_0:1`. Undefined for unknown names. */
export function transportOf(lanes: string): NixlTransport | undefined {
  return NAMES.find(([pattern]) => pattern.test(lanes))?.[1];
}

const end = (text: string): number => {
  const [, digits = '0', unit = ''] = /^(\d+)([KMG]?)$/.exec(text) ?? [];
  return text === 'inf' ? Infinity : Number(digits) * 1024 ** ' KMG'.indexOf(unit || ' ');
};

/** @internal The one-sided operations in the text that UCX prints with UCX_PROTO_INFO=y. */
export function parseProtocolReport(text: string): ProtocolChoice[] {
  const choices: ProtocolChoice[] = [];
  let connection = '';
  let ranges: ProtocolChoice['ranges'][number][] | undefined;
  for (const [, row = ''] of text.matchAll(/^[^|\n]*\|(.*)\|\s*$/gm)) {
    const cells = row.split('|').map((cell) => cell.trim());
    const [first = '', how = '', lanes = ''] = cells;
    if (cells.length === 1) {
      const operation = /remote memory (read|write) by ucp_/.exec(first)?.[1];
      const named = /\bcfg#\d+/.test(first) ? /((?:intra|inter)-node|self) cfg#\d+/.exec(first)?.[0] : undefined;
      if (named !== undefined) connection = named;
      ranges = undefined;
      if (operation !== undefined) {
        ranges = [];
        choices.push({ connection, operation: operation === 'read' ? 'READ' : 'WRITE', ranges });
      }
    } else if (ranges !== undefined) {
      const [, low, high] = /^(\d+[KMG]?)(?:\.\.(\d+[KMG]?|inf))?$/.exec(first) ?? [];
      if (low !== undefined) ranges.push({ from: end(low), to: end(high ?? low), how, lanes });
    }
  }
  return choices;
}

/** @internal What UCX chose for a size: the last choice counts, because UCX sets up connections in steps. */
export function choiceFor(
  choices: readonly ProtocolChoice[],
  operation: 'READ' | 'WRITE',
  bytes: number,
): { how: string; lanes: string } | undefined {
  const fitting = choices.filter((choice) => choice.operation === operation && !choice.connection.startsWith('self'));
  return fitting.at(-1)?.ranges.find(({ from, to }) => bytes >= from && bytes <= to);
}
