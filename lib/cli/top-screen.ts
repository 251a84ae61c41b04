import type { DashboardSnapshot, InstanceView, ServiceView } from '../dashboard/view.js';
import type { CommandIo } from './command.js';
import { clipped, plainText, type Style, styled, tableLines } from './output.js';

const HEADER = ['WORKER', 'STATE', 'RUN', 'QUEUE', 'REQ/S', 'KV', 'HIT', 'TTFT', 'ITL', 'READ/S'];
const UNITS = ['B', 'KB', 'MB', 'GB', 'TB'];
const NONE = '-';

const count = (value: number | undefined): string => (value === undefined ? NONE : String(Math.round(value)));
const rate = (value: number | undefined): string =>
  value === undefined ? NONE : value >= 100 ? value.toFixed(0) : value.toFixed(1);
const share = (value: number | undefined): string => (value === undefined ? NONE : `${Math.round(value * 100)}%`);

function duration(ms: number | undefined): string {
  if (ms === undefined) return NONE;
  return ms < 10 ? `${ms.toFixed(1)}ms` : ms < 10_000 ? `${Math.round(ms)}ms` : `${(ms / 1000).toFixed(1)}s`;
}

function bytes(value: number | undefined): string {
  if (value === undefined) return NONE;
  const power = value < 1 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(value) / 3));
  return `${(value / 1000 ** power).toFixed(power === 0 ? 0 : 1)}${UNITS[power]}`;
}

const STYLES: Readonly<Record<string, Style>> = {
  ready: 'green',
  present: 'green',
  failed: 'red',
  'backing-off': 'yellow',
  draining: 'yellow',
};

function rowOf(io: CommandIo, one: InstanceView): string[] {
  const { id, phase, flow, kv, lastTtftMs, lastItlMs, transfers } = one;
  const style = STYLES[phase];
  return [
    plainText(id),
    style === undefined ? phase : styled(io, style, phase),
    count(flow.running),
    count(flow.queued),
    rate(flow.requestsPerSecond),
    share(kv.usage),
    share(kv.hitRate),
    duration(lastTtftMs),
    duration(lastItlMs),
    bytes(transfers?.bytesPerSecond),
  ];
}

/** One line for each service, then for its instances while there are lines left. */
function serviceLine(io: CommandIo, { name, role, ready, desired, instances }: ServiceView): string {
  const wanted = desired ?? instances.length;
  const text = `${plainText(name)} (${role}) ${ready}/${wanted}`;
  return ready < wanted ? styled(io, 'yellow', text) : text;
}

/**
 * A snapshot as lines of at most the width of the terminal.
 *
 * @param rows the height of the terminal; instances that have no line are counted in the last one
 */
export function topLines(io: CommandIo, snapshot: DashboardSnapshot, rows = Number.POSITIVE_INFINITY): string[] {
  const { graph, flow, ttft, itl, kv, services, warnings, decisions } = snapshot;
  const clip = (line: string): string => (io.isTerminal ? clipped(line, io.columns) : line);
  const instances = services.flatMap((service) => service.instances);
  const last = decisions.at(-1);
  const moves = last?.pools.map(({ role, desired, target }) => `${role} ${desired} to ${target}`).join(', ');
  const why = last?.reasons.at(-1)?.text;
  const head = [
    [styled(io, 'bold', plainText(graph.name)), graph.phase, ...services.map((one) => serviceLine(io, one))].join('  '),
    [
      `${rate(flow.requestsPerSecond)} requests/s`,
      `${count(flow.running)} running`,
      `${count(flow.queued)} queued`,
      `${rate(flow.outputTokensPerSecond)} tokens/s`,
    ].join('  '),
    [
      `TTFT ${duration(ttft?.p50Ms ?? ttft?.meanMs)} (p95 ${duration(ttft?.p95Ms)})`,
      `ITL ${duration(itl?.p50Ms ?? itl?.meanMs)} (p95 ${duration(itl?.p95Ms)})`,
      `KV ${share(kv.usage)}`,
      `hits ${share(kv.hitRate)}`,
    ].join('  '),
    ...(last === undefined
      ? []
      : [`planner: ${last.outcome}, ${plainText(`${moves ?? ''}${why === undefined ? '' : `: ${why}`}`)}`]),
    ...warnings.map((warning) => styled(io, 'yellow', `! ${plainText(warning)}`)),
  ];
  const table = tableLines(
    io,
    instances.map((one) => rowOf(io, one)),
    HEADER,
  );
  const space = rows - head.length - 1;
  const shown = table.length <= space ? table : table.slice(0, Math.max(0, space - 1));
  const left = table.length - shown.length;
  return [...head.map(clip), '', ...shown, ...(left > 0 ? [clip(`and ${left} more`)] : [])].slice(0, rows);
}
