import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import {
  formatByteRate,
  formatBytes,
  formatCount,
  formatMs,
  formatNoun,
  formatRate,
  formatShare,
  UNKNOWN,
} from '../../../lib/dashboard/page/browser/format.js';
import { layoutGraph } from '../../../lib/dashboard/page/browser/graph-layout.js';
import { loadPage } from '../../../lib/dashboard/page/files.js';
import type { EdgeView, ServiceView, ViewRole } from '../../../lib/dashboard/view.js';
import { browserProgram } from '../../helpers/dashboard/browser.js';
import { root } from '../../helpers/project.js';

describe('figures of the page', () => {
  it.each([
    [formatCount, 0, '0'],
    [formatCount, 7, '7'],
    [formatCount, 0.256, '0.26'],
    [formatCount, 999.7, '1k'],
    [formatCount, 1234, '1.23k'],
    [formatCount, 1e18, '1000000T'],
    [formatRate, 12.34, '12.3/s'],
    [formatBytes, 1023, '1023 B'],
    [formatBytes, 1536, '1.5 KiB'],
    [formatByteRate, 3 * 1024 ** 3, '3 GiB/s'],
    [formatShare, 0.034, '3.4%'],
    [formatShare, 0.5, '50%'],
    [formatShare, 0, '0%'],
    [formatMs, 0.4215, '0.42 ms'],
    [formatMs, 999.4, '999 ms'],
    [formatMs, 999.6, '1 s'],
    [formatMs, 12_340, '12.3 s'],
    [formatMs, 600_000, '10 min'],
    [formatMs, 36_000_000, '10 h'],
  ])('%o of %d is %s', (format, value, text) => {
    expect(format(value)).toBe(text);
  });

  it.each([[undefined], [null], [Number.NaN], [Number.POSITIVE_INFINITY]])('shows a dash for %s', (value) => {
    for (const format of [formatCount, formatRate, formatBytes, formatByteRate, formatShare, formatMs])
      expect(format(value)).toBe(UNKNOWN);
  });

  it('writes the singular only for one', () => {
    expect([0, 1, 2].map((count) => formatNoun(count, 'worker'))).toEqual(['0 workers', '1 worker', '2 workers']);
  });
});

const service = (name: string, instances = 1, role: ViewRole = 'worker', isEntry = false): ServiceView => ({
  name,
  role,
  isEntry,
  ready: instances,
  canScale: false,
  instances: Array.from({ length: instances }, (_, number) => ({
    id: `${name}#${number}`,
    service: name,
    phase: 'ready',
    hasLog: false,
    flow: {},
    kv: {},
  })),
});

const call = (from: string, to: string): EdgeView => ({ from, to, kind: 'request' });

describe('the layout of a graph', () => {
  const services = [
    service('Frontend', 1, 'frontend', true),
    service('Router'),
    service('Decode', 200, 'decode'),
    service('Prefill', 3, 'prefill'),
  ];
  const edges: EdgeView[] = [
    call('Frontend', 'Router'),
    call('Router', 'Decode'),
    call('Router', 'Prefill'),
    call('Frontend', 'Decode'),
    { from: 'Prefill', to: 'Decode', kind: 'transfer' },
  ];

  it.each([[false], [true]])('places callers before what they call (vertical: %s)', (isVertical) => {
    const { nodes } = layoutGraph(services, edges, isVertical);
    const along = (name: string) => {
      const node = nodes.find((one) => one.name === name)!;
      return isVertical ? [node.y, node.y + node.height] : [node.x, node.x + node.width];
    };
    expect(along('Frontend')[1]).toBeLessThan(along('Router')[0]!);
    expect(along('Router')[1]).toBeLessThan(along('Decode')[0]!);
    expect(along('Router')[1]).toBeLessThan(along('Prefill')[0]!);
  });

  it.each([[false], [true]])('keeps nodes apart and inside the drawing (vertical: %s)', (isVertical) => {
    const { nodes, width, height } = layoutGraph(services, edges, isVertical);
    for (const a of nodes) {
      expect(Math.min(a.x, a.y)).toBeGreaterThanOrEqual(0);
      expect(a.x + a.width).toBeLessThanOrEqual(width);
      expect(a.y + a.height).toBeLessThanOrEqual(height);
      for (const b of nodes.filter((one) => one !== a)) {
        const isApart = a.x + a.width < b.x || b.x + b.width < a.x || a.y + a.height < b.y || b.y + b.height < a.y;
        expect(isApart, `${a.name} and ${b.name}`).toBe(true);
      }
    }
  });

  it('draws each edge whose ends are known, and ends on circles', () => {
    const all = [...edges, call('Decode', 'Router'), call('Router', 'Router'), call('Router', 'gone')];
    const drawn = layoutGraph(services, all, false).edges.map(({ edge }) => `${edge.from} ${edge.to}`);
    expect(drawn).toEqual([
      'Frontend Router',
      'Router Decode',
      'Router Prefill',
      'Frontend Decode',
      'Prefill Decode',
      'Decode Router',
    ]);
    const circle = layoutGraph(
      [service('A', 1, 'worker', true), service('B')],
      [call('A', 'B'), call('B', 'A')],
      false,
    );
    expect(circle.nodes.map(({ name }) => name)).toEqual(['A', 'B']);
    expect(circle.nodes[1]!.x).toBeGreaterThan(circle.nodes[0]!.x);
  });

  it('ends soon on a graph with very many ways', () => {
    const layers = Array.from({ length: 30 }, (_, layer) => [service(`a${layer}`), service(`b${layer}`)]).flat();
    const ways = layers.flatMap(({ name }) => {
      const next = Number(name.slice(1)) + 1;
      return next < 30 ? [call(name, `a${next}`), call(name, `b${next}`)] : [];
    });
    expect(layoutGraph(layers, ways, false).nodes).toHaveLength(60);
  });

  it('is empty for no services', () => {
    expect(layoutGraph([], [], false)).toMatchObject({ nodes: [], edges: [] });
  });
});

describe('the files of the page', () => {
  it('are found under the paths that they refer to', async () => {
    const files = await loadPage();
    for (const [path, { type, body }] of files) {
      expect(body.length, path).toBeGreaterThan(0);
      const text = body.toString();
      const attributes = type.startsWith('text/html') ? [...text.matchAll(/(?:src|href)="(\/[^"]+)"/g)] : [];
      const imports = type.startsWith('text/javascript') ? [...text.matchAll(/from '([^']+)'/g)] : [];
      for (const [, reference] of [...attributes, ...imports]) {
        const target = new URL(reference!, `http://localhost${path}`).pathname;
        expect([...files.keys()], `${path} refers to ${reference}`).toContain(target);
      }
    }
  });

  it('have no script, style or handler inside the document', async () => {
    const document = (await loadPage()).get('/')!.body.toString();
    expect(document).not.toMatch(/<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)/);
    expect(document).not.toMatch(/https?:\/\//);
  });

  it('are in the package', () => {
    const { files } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { files: string[] };
    for (const name of ['index.html', '*.css', 'favicon.svg']) expect(files).toContain(`lib/dashboard/page/${name}`);
    expect(files).toContain('dist');
  });
});

describe('the browser of the tests', () => {
  it('says how to install it if it is missing', () => {
    expect(() => browserProgram('/nowhere/chromium')).toThrow(
      '/nowhere/chromium is missing: run `node scripts/setup.mjs --test`, or install the Debian package chromium',
    );
  });
});
