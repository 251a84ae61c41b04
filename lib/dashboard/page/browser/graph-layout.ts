import type { EdgeView, ServiceView } from '../../view.js';

/** The place of a service in the drawing, in the units of the drawing. */
export interface NodePlace {
  readonly name: string;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  /** Dots in a row. */
  readonly dotColumns: number;
}

/** An edge as an SVG path, and where its label stands. */
export interface EdgePath {
  readonly key: string;
  readonly edge: EdgeView;
  readonly path: string;
  readonly labelX: number;
  readonly labelY: number;
}

/** A drawing without colours. */
export interface GraphLayout {
  readonly width: number;
  readonly height: number;
  readonly nodes: readonly NodePlace[];
  readonly edges: readonly EdgePath[];
}

/** The distance of two dots, and the height of the texts of a node. */
export const DOT = 15;
export const NODE_TEXT = 46;
/** The space inside a node, left and right of its texts and dots. */
export const NODE_PADDING = 12;

const FOOT = 10;
const GAP_ALONG = 92;
const GAP_ACROSS = 34;
const MARGIN = 8;

const columnsFor = (count: number): number => (count <= 20 ? 10 : count <= 60 ? 15 : 20);

function sizeOf({ instances }: ServiceView): { width: number; height: number; dotColumns: number } {
  const dotColumns = columnsFor(instances.length);
  const rows = Math.max(1, Math.ceil(instances.length / dotColumns));
  return { width: 2 * NODE_PADDING + DOT * dotColumns, height: NODE_TEXT + DOT * rows + FOOT, dotColumns };
}

/** The largest number of calls from the entry to each service. A call that closes a circle does not count. */
function layersOf(services: readonly ServiceView[], edges: readonly EdgeView[]): Map<string, number> {
  const calls = edges.filter(({ kind, from, to }) => kind === 'request' && from !== to);
  const called = new Set(calls.map(({ to }) => to));
  const callees = new Map<string, string[]>(services.map(({ name }) => [name, []]));
  for (const { from, to } of calls) if (callees.has(to)) callees.get(from)?.push(to);

  // Callers first: the reverse of the order in which a search in depth leaves the services.
  const order: string[] = [];
  const entered = new Set<string>();
  const onPath = new Set<string>();
  const visit = (name: string): void => {
    if (entered.has(name)) return;
    entered.add(name);
    onPath.add(name);
    const ahead = callees.get(name)!.filter((callee) => !onPath.has(callee));
    callees.set(name, ahead);
    for (const callee of ahead) visit(callee);
    onPath.delete(name);
    order.unshift(name);
  };
  const rank = ({ name, isEntry }: ServiceView) => (called.has(name) ? (isEntry ? 1 : 2) : 0);
  for (const { name } of [...services].sort((a, b) => rank(a) - rank(b))) visit(name);

  const layers = new Map<string, number>(services.map(({ name }) => [name, 0]));
  for (const name of order)
    for (const callee of callees.get(name)!) layers.set(callee, Math.max(layers.get(callee)!, layers.get(name)! + 1));
  return layers;
}

const ROLE_ORDER = ['frontend', 'worker', 'prefill', 'decode', 'unknown', 'planner'];

/**
 * Places the services in layers by who calls whom, from left to right, or from top to bottom for narrow screens.
 * The same services and edges give the same drawing, whatever their instances do, unless a node grows by a row.
 */
export function layoutGraph(
  services: readonly ServiceView[],
  edges: readonly EdgeView[],
  isVertical: boolean,
): GraphLayout {
  const layers = layersOf(services, edges);
  const rows: ServiceView[][] = [];
  for (const service of services) (rows[layers.get(service.name)!] ??= []).push(service);
  const filled = rows.filter((row) => row !== undefined);
  for (const row of filled) row.sort((a, b) => ROLE_ORDER.indexOf(a.role) - ROLE_ORDER.indexOf(b.role));

  const along = isVertical ? 'height' : 'width';
  const across = isVertical ? 'width' : 'height';
  const sized = filled.map((row) => row.map((service) => ({ name: service.name, ...sizeOf(service) })));
  const breadths = sized.map((row) => row.reduce((sum, node) => sum + node[across] + GAP_ACROSS, -GAP_ACROSS));
  const breadth = Math.max(0, ...breadths);

  const nodes: NodePlace[] = [];
  let position = MARGIN;
  sized.forEach((row, index) => {
    const depth = Math.max(...row.map((node) => node[along]));
    let offset = MARGIN + (breadth - breadths[index]!) / 2;
    for (const node of row) {
      const start = position + (depth - node[along]) / 2;
      nodes.push({ ...node, x: isVertical ? offset : start, y: isVertical ? start : offset });
      offset += node[across] + GAP_ACROSS;
    }
    position += depth + (isVertical ? GAP_ALONG / 2 : GAP_ALONG);
  });
  const length = position - (isVertical ? GAP_ALONG / 2 : GAP_ALONG) + MARGIN;
  const total = breadth + 2 * MARGIN;
  return {
    width: isVertical ? total : length,
    height: isVertical ? length : total,
    nodes,
    edges: pathsOf(nodes, edges, isVertical),
  };
}

function pathsOf(nodes: readonly NodePlace[], edges: readonly EdgeView[], isVertical: boolean): EdgePath[] {
  const byName = new Map(nodes.map((node) => [node.name, node]));
  return edges.flatMap((edge) => {
    const from = byName.get(edge.from);
    const to = byName.get(edge.to);
    if (from === undefined || to === undefined || from === to) return [];
    return [{ key: JSON.stringify([edge.from, edge.to, edge.kind]), edge, ...pathOf(from, to, isVertical) }];
  });
}

function pathOf(from: NodePlace, to: NodePlace, isVertical: boolean): { path: string; labelX: number; labelY: number } {
  const centre = (node: NodePlace) => ({ x: node.x + node.width / 2, y: node.y + node.height / 2 });
  const [a, b] = [centre(from), centre(to)];
  const isAhead = isVertical ? to.y > from.y + from.height : to.x > from.x + from.width;
  const isBack = isVertical ? to.y + to.height < from.y : to.x + to.width < from.x;
  // Beside each other in one layer: straight across. Otherwise a curve along the layers.
  if (!isAhead && !isBack) {
    const sign = isVertical ? Math.sign(b.x - a.x) : Math.sign(b.y - a.y);
    const start = isVertical
      ? { x: a.x + (sign * from.width) / 2, y: a.y }
      : { x: a.x, y: a.y + (sign * from.height) / 2 };
    const end = isVertical ? { x: b.x - (sign * to.width) / 2, y: b.y } : { x: b.x, y: b.y - (sign * to.height) / 2 };
    const path = `M${start.x} ${start.y}L${end.x} ${end.y}`;
    return { path, labelX: (start.x + end.x) / 2, labelY: (start.y + end.y) / 2 };
  }
  const sign = isAhead ? 1 : -1;
  const start = isVertical
    ? { x: a.x, y: a.y + (sign * from.height) / 2 }
    : { x: a.x + (sign * from.width) / 2, y: a.y };
  const end = isVertical ? { x: b.x, y: b.y - (sign * to.height) / 2 } : { x: b.x - (sign * to.width) / 2, y: b.y };
  const middle = isVertical ? (start.y + end.y) / 2 : (start.x + end.x) / 2;
  const path = isVertical
    ? `M${start.x} ${start.y}C${start.x} ${middle} ${end.x} ${middle} ${end.x} ${end.y}`
    : `M${start.x} ${start.y}C${middle} ${start.y} ${middle} ${end.y} ${end.x} ${end.y}`;
  return { path, labelX: (start.x + end.x) / 2, labelY: (start.y + end.y) / 2 };
}
