import type { RoutingView, TraceSource, TraceSpan, TraceView } from '../../view.js';
import { html } from './dom.js';
import { formatMs, formatTime, formatWhole, UNKNOWN } from './format.js';

const SOURCES: Readonly<Record<TraceSource, string>> = {
  client: 'measured by this server as the client',
  frontend: 'measured by the frontend',
  worker: 'measured by the worker',
  derived: 'computed from other times',
};

const SPANS: Readonly<Record<TraceSpan['name'], string>> = {
  request: 'Request at the frontend',
  queue: 'Router and queue',
  prefill: 'Prefill',
  wait: 'Wait for prefill',
  transfer: 'Transfer of KV blocks',
  decode: 'Decode',
};

const figure = (title: string, text: string): HTMLElement =>
  html('div', {}, html('dt', {}, title), html('dd', {}, text));

function bar({ name, startMs, endMs, isEstimate }: TraceSpan, totalMs: number): HTMLElement {
  const share = (ms: number) => Math.min(100, Math.max(0, (ms / (totalMs || 1)) * 100));
  const element = html('span', { class: 'span-bar', 'data-span': name, 'data-estimate': isEstimate ? '' : undefined });
  element.style.left = `${share(startMs)}%`;
  element.style.width = `max(2px, ${share(endMs) - share(startMs)}%)`;
  return html('div', { class: 'span-track', 'aria-hidden': 'true' }, element);
}

function spanRow(span: TraceSpan, totalMs: number): HTMLTableRowElement {
  const about = span.isEstimate ? '≈ ' : '';
  const source = SOURCES[span.source] ?? span.source;
  const known = [span.detail, span.isEstimate ? `estimated, ${source}` : source]
    .filter((part) => part !== undefined)
    .join('; ');
  const label = html('th', { scope: 'row' }, SPANS[span.name] ?? span.name);
  if (span.instance !== undefined) label.append(html('span', { class: 'where' }, span.instance));
  return html(
    'tr',
    {},
    label,
    html('td', { class: 'track-cell' }, bar(span, totalMs), html('span', { class: 'where' }, known)),
    html('td', { class: 'number' }, `${about}${formatMs(span.startMs)}`),
    html('td', { class: 'number' }, `${about}${formatMs(span.endMs - span.startMs)}`),
  );
}

function spansTable({ spans, totalMs }: TraceView): HTMLElement {
  const heads = ['Part', 'Timeline', 'Start', 'Duration'].map((title) =>
    html('th', { scope: 'col', class: title === 'Start' || title === 'Duration' ? 'number' : undefined }, title),
  );
  const rows = spans.map((span) => spanRow(span, totalMs));
  return scrolling(
    'Timeline of the request',
    html('table', { class: 'spans' }, html('thead', {}, html('tr', {}, ...heads)), html('tbody', {}, ...rows)),
  );
}

function routingSection({ service, promptTokens, promptBlocks, reason, candidates, source }: RoutingView): HTMLElement {
  const heads = ['Worker', 'Cached blocks', 'Prefill', 'Decode', 'Active', 'Cost'].map((title, index) =>
    html('th', { scope: 'col', class: index > 0 ? 'number' : undefined }, title),
  );
  const rows = candidates.map((candidate) => {
    const { instance, dpRank, isWinner, excluded, cachedBlocks, prefill, decode, activeRequests, cost } = candidate;
    const name = `${isWinner ? '→ ' : ''}${instance}${dpRank > 0 ? ` rank ${dpRank}` : ''}`;
    const label = html('th', { scope: 'row' }, name);
    if (isWinner) label.append(html('span', { class: 'hidden' }, ' chosen'));
    const cells = [cachedBlocks, prefill, decode, activeRequests].map((value) => rounded(value));
    return html(
      'tr',
      { class: isWinner ? 'winner' : undefined },
      label,
      ...[...cells, excluded ?? rounded(cost)].map((text) => html('td', { class: 'number' }, text)),
    );
  });
  const table = html('table', {}, html('thead', {}, html('tr', {}, ...heads)), html('tbody', {}, ...rows));
  return html(
    'section',
    { 'aria-label': 'Why the router chose this worker' },
    html('h4', {}, `Router of ${service}`),
    html('p', {}, `Chosen because: ${reason}`),
    scrolling('Candidates of the router', table),
    html('p', { class: 'hint' }, `${promptTokens} prompt tokens, ${promptBlocks} whole blocks. ${source}`),
  );
}

const rounded = (value: number): string => (Number.isInteger(value) ? String(value) : value.toFixed(2));

const scrolling = (label: string, table: HTMLElement): HTMLElement =>
  html('div', { class: 'scroll', tabindex: 0, role: 'group', 'aria-label': label }, table);

/** One request's way through the graph: its figures, its parts as bars, and the choice of the router. */
export function timeline(trace: TraceView): HTMLElement[] {
  const { atMs, model, outcome, error, inputTokens, outputTokens, cachedTokens, ttftMs, totalMs, routing, notes } =
    trace;
  const cached = cachedTokens === undefined ? '' : ` (${cachedTokens} cached)`;
  const figures = html(
    'dl',
    { class: 'trace-figures' },
    figure('Sent', formatTime(atMs)),
    figure('Model', model),
    figure('Tokens in', inputTokens === undefined ? UNKNOWN : `${inputTokens}${cached}`),
    figure('Tokens out', formatWhole(outputTokens)),
    figure('TTFT', formatMs(ttftMs)),
    figure('Total', formatMs(totalMs)),
  );
  const parts: HTMLElement[] = [html('h3', {}, `Request at ${formatTime(atMs)}`), figures];
  if (outcome === 'failed') parts.push(html('p', { class: 'error' }, `Failed: ${error ?? 'for an unknown reason'}`));
  parts.push(spansTable(trace));
  if (routing !== undefined) parts.push(routingSection(routing));
  if (notes.length > 0) {
    parts.push(html('ul', { class: 'notes', 'aria-label': 'Notes' }, ...notes.map((note) => html('li', {}, note))));
  }
  return parts;
}
