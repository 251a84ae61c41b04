import type { DashboardSnapshot, InstancePhase, InstanceView, ServiceView } from '../../view.js';
import { byId, html, Keyed, linkOrText, setAttribute, setText, svg } from './dom.js';
import { formatRate } from './format.js';
import { DOT, type EdgePath, type GraphLayout, layoutGraph, NODE_PADDING, type NodePlace } from './graph-layout.js';
import { PHASES, phaseIcon, setPhaseIcon } from './phases.js';

const NARROW = 560;

/** What a screen reader says instead of the drawing. The table of services has the rest. */
function describe({ services, edges }: DashboardSnapshot): string {
  const nodes = services.map(
    ({ name, role, instances, ready }) => `${name} (${role}): ${ready} of ${instances.length} ready`,
  );
  const calls = edges.map(({ from, to, kind, mode }) =>
    kind === 'transfer'
      ? `KV blocks from ${from} to ${to}`
      : `${from} calls ${to}${mode === undefined ? '' : ` by ${mode}`}`,
  );
  return [...nodes, ...calls].join('. ');
}

const shortened = (text: string, characters: number): string =>
  text.length <= characters ? text : `${text.slice(0, characters - 1)}…`;

function roleText({ role, ready, instances, desired }: ServiceView): string {
  const wanted = desired === undefined || desired === instances.length ? '' : `, ${desired} wanted`;
  return `${role} · ${ready}/${instances.length} ready${wanted}`;
}

const requestsOf = ({ instances }: ServiceView): number | undefined => {
  const rates = instances.flatMap(({ flow }) => flow.requestsPerSecond ?? []);
  return rates.length === 0 ? undefined : rates.reduce((sum, rate) => sum + rate, 0);
};

/** One service as a box with a dot for each instance. */
class Node {
  readonly element = svg('g', { class: 'node' });
  readonly #box = svg('rect', { rx: 8 });
  readonly #name = svg('text', { class: 'node-name', x: NODE_PADDING, y: 20 });
  readonly #role = svg('text', { class: 'node-role', x: NODE_PADDING, y: 36 });
  readonly #title = svg('title');
  readonly #group = svg('g', { transform: 'translate(12 46)' });
  readonly #dots: Keyed<InstanceView & { readonly index: number }, SVGUseElement>;
  #columns = 1;

  constructor(onSelect: () => void) {
    this.element.append(this.#title, this.#box, this.#name, this.#role, this.#group);
    this.element.addEventListener('click', onSelect);
    this.#dots = new Keyed(
      this.#group,
      () => svg('use', { class: 'phase', width: 11, height: 11 }, svg('title')),
      (dot, { id, phase, index }) => {
        setPhaseIcon(dot, phase);
        setAttribute(dot, 'x', (index % this.#columns) * DOT + 2);
        setAttribute(dot, 'y', Math.floor(index / this.#columns) * DOT + 2);
        setText(dot.firstElementChild!, `${id}: ${phase}`);
      },
    );
  }

  show(service: ServiceView, place: NodePlace): void {
    this.#columns = place.dotColumns;
    setAttribute(this.element, 'transform', `translate(${place.x} ${place.y})`);
    setAttribute(this.element, 'data-role', service.role);
    setAttribute(this.#box, 'width', place.width);
    setAttribute(this.#box, 'height', place.height);
    // In this font size, a character is seldom wider than 8 units.
    setText(this.#name, shortened(service.name, Math.floor((place.width - 2 * NODE_PADDING) / 8)));
    setText(this.#role, roleText(service));
    setText(this.#title, `${service.name}: show its instances`);
    this.#dots.show(
      service.instances.map((instance, index) => ({ ...instance, index })),
      ({ id }) => id,
    );
  }
}

/** The drawing of services and of who calls whom. */
export class GraphPanel {
  readonly #container = byId('graph-drawing');
  readonly #drawing = svg('svg', { role: 'img' });
  readonly #nodes = new Map<string, Node>();
  readonly #nodeLayer = svg('g');
  readonly #edges: Keyed<EdgePath & { readonly label: string }, SVGGElement>;
  readonly #onSelect: (service: string) => void;
  #layoutKey = '';
  #layout: GraphLayout | undefined;
  #last: DashboardSnapshot | undefined;
  #addresses = '';

  /** @param onSelect called with the name of a service that was clicked */
  constructor(onSelect: (service: string) => void) {
    this.#onSelect = onSelect;
    const edgeLayer = svg('g');
    this.#drawing.append(arrows(), edgeLayer, this.#nodeLayer);
    this.#container.append(this.#drawing);
    this.#edges = new Keyed(edgeLayer, edgeElement, showEdge);
    this.#showLegend();
    new ResizeObserver(() => {
      if (this.#last !== undefined) this.render(this.#last);
    }).observe(this.#container);
  }

  render(snapshot: DashboardSnapshot): void {
    this.#last = snapshot;
    const { services, edges } = snapshot;
    const layout = this.#layoutOf(snapshot);
    setAttribute(this.#drawing, 'viewBox', `0 0 ${layout.width} ${layout.height}`);
    this.#drawing.style.maxWidth = `${layout.width * 1.15}px`;
    setAttribute(this.#drawing, 'aria-label', services.length === 0 ? 'No service is known yet' : describe(snapshot));

    const byName = new Map(services.map((service) => [service.name, service]));
    for (const place of layout.nodes) this.#node(place.name).show(byName.get(place.name)!, place);
    for (const [name, node] of this.#nodes) {
      if (byName.has(name)) continue;
      node.element.remove();
      this.#nodes.delete(name);
    }
    const labelled = layout.edges.map((path, index) => {
      const edge = edges.find(
        (one) => one.from === path.edge.from && one.to === path.edge.to && one.kind === path.edge.kind,
      );
      return {
        ...path,
        key: `${path.key}${index}`,
        edge: edge ?? path.edge,
        label: labelOf(edge ?? path.edge, byName),
      };
    });
    this.#edges.show(labelled, ({ key }) => key);
    this.#showAddresses(snapshot.graph);
  }

  /** The layout changes only with what it depends on, so that the drawing does not move. */
  #layoutOf({ services, edges }: DashboardSnapshot): GraphLayout {
    const isVertical = this.#container.clientWidth < NARROW;
    const shape = services.map(({ name, role, isEntry, instances }) => [name, role, isEntry, instances.length]);
    const key = JSON.stringify([isVertical, shape, edges.map(({ from, to, kind }) => [from, to, kind])]);
    if (this.#layout === undefined || key !== this.#layoutKey) {
      this.#layoutKey = key;
      this.#layout = layoutGraph(services, edges, isVertical);
    }
    return this.#layout;
  }

  #node(name: string): Node {
    let node = this.#nodes.get(name);
    if (node === undefined) {
      node = new Node(() => this.#onSelect(name));
      this.#nodes.set(name, node);
      this.#nodeLayer.append(node.element);
    }
    return node;
  }

  #showAddresses({ urls, models }: DashboardSnapshot['graph']): void {
    const key = JSON.stringify([urls, models]);
    if (key === this.#addresses) return;
    this.#addresses = key;
    const served = models.length === 0 ? [] : [html('span', {}, `Models: ${models.join(', ')}`)];
    byId('graph-urls').replaceChildren(...urls.map(linkOrText), ...served);
  }

  #showLegend(): void {
    const entries = Object.entries(PHASES) as [InstancePhase, string][];
    byId('phases').append(
      ...entries.map(([phase, meaning]) => html('li', { title: meaning }, phaseIcon(phase), html('span', {}, phase))),
    );
  }
}

function labelOf({ kind, mode, to }: EdgePath['edge'], services: ReadonlyMap<string, ServiceView>): string {
  if (kind === 'transfer') return 'KV blocks';
  const service = services.get(to);
  const rate = service === undefined ? undefined : requestsOf(service);
  return [mode, rate === undefined ? undefined : formatRate(rate)].filter((part) => part !== undefined).join(' · ');
}

function arrows(): SVGDefsElement {
  const arrow = (kind: string) =>
    svg(
      'marker',
      {
        id: `arrow-${kind}`,
        class: `arrow-${kind}`,
        viewBox: '0 0 8 8',
        refX: 7,
        refY: 4,
        markerWidth: 7,
        markerHeight: 7,
        orient: 'auto',
      },
      svg('path', { d: 'M0 .5 7.5 4 0 7.5Z' }),
    );
  return svg('defs', {}, arrow('request'), arrow('transfer'));
}

const edgeElement = ({ edge: { kind } }: EdgePath): SVGGElement =>
  svg(
    'g',
    { class: `edge edge-${kind}` },
    svg('path', { 'marker-end': `url(#arrow-${kind})` }),
    svg('text', { class: 'edge-label', 'text-anchor': 'middle' }),
  );

function showEdge(
  element: SVGGElement,
  { path, labelX, labelY, label, edge }: EdgePath & { readonly label: string },
): void {
  const text = element.lastElementChild!;
  setAttribute(element.firstElementChild!, 'd', path);
  setAttribute(text, 'x', labelX);
  setAttribute(text, 'y', labelY - (edge.kind === 'transfer' ? -4 : 5));
  setText(text, label);
}
