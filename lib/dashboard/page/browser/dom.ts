// Every text goes into the document through text nodes. Nothing here, and nothing in the page, parses markup.

type Attributes = Readonly<Record<string, string | number | undefined>>;
type Child = Node | string;

const SVG = 'http://www.w3.org/2000/svg';

function fill<E extends Element>(element: E, attributes: Attributes, children: readonly Child[]): E {
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  element.append(...children);
  return element;
}

/** A new HTML element. */
export function html<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  return fill(document.createElement(tag), attributes, children);
}

/** A new SVG element. */
export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): SVGElementTagNameMap[K] {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** The element with an id in `index.html`. */
export function byId<E extends Element = HTMLElement>(id: string): E {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`index.html has no element with the id ${id}`);
  return found as unknown as E;
}

/** Sets the text of an element without children. Does nothing if it has that text, and keeps the text node. */
export function setText(element: Element, text: string): void {
  const only = element.firstChild;
  if (only instanceof Text && only === element.lastChild) {
    if (only.data !== text) only.data = text;
  } else if (only !== null || text !== '') {
    element.textContent = text;
  }
}

/** Sets or, if the value is undefined, removes an attribute. Does nothing if it has that value. */
export function setAttribute(element: Element, name: string, value: string | number | undefined): void {
  if (value === undefined) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const text = String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/** Puts nodes in an order with the fewest moves of those that are there. Other nodes after them stay. */
export function arrange(parent: Element, nodes: Iterable<Element>): void {
  let next = parent.firstElementChild;
  for (const node of nodes) {
    if (node === next) next = next.nextElementSibling;
    else parent.insertBefore(node, next);
  }
}

/** The elements that show a list of items, each under its key. */
export class Keyed<Item, E extends Element> {
  readonly #parent: Element;
  readonly #create: (item: Item) => E;
  readonly #update: (element: E, item: Item) => void;
  readonly #elements = new Map<string, E>();

  constructor(parent: Element, create: (item: Item) => E, update: (element: E, item: Item) => void) {
    this.#parent = parent;
    this.#create = create;
    this.#update = update;
  }

  /** Shows these items in this order. An element whose key stays is kept. */
  show(items: readonly Item[], keyOf: (item: Item) => string): void {
    const shown = new Map<string, E>();
    for (const item of items) {
      const key = keyOf(item);
      const element = this.#elements.get(key) ?? this.#create(item);
      this.#elements.set(key, element);
      this.#update(element, item);
      shown.set(key, element);
    }
    for (const [key, element] of this.#elements) {
      if (shown.has(key)) continue;
      element.remove();
      this.#elements.delete(key);
    }
    arrange(this.#parent, shown.values());
  }
}

/** A link if the address is one of HTTP, else its text. */
export function linkOrText(url: string): HTMLElement {
  if (!/^https?:\/\//i.test(url) || !URL.canParse(url)) return html('span', {}, url);
  return html('a', { href: new URL(url).href, rel: 'noreferrer noopener', target: '_blank' }, url);
}
