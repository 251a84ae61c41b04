import type { InstancePhase } from '../../view.js';
import { html, setAttribute, setText, svg } from './dom.js';

/** The phases in the order of the legend, with what each means. Its shape is the symbol `phase-NAME`. */
export const PHASES: Readonly<Record<InstancePhase, string>> = {
  ready: 'accepts requests',
  present: 'listed in discovery; its process is not known here',
  starting: 'starts',
  waiting: 'waits for what it depends on',
  draining: 'completes its requests and ends',
  'backing-off': 'crashed and starts again soon',
  failed: 'ended with an error',
  stopped: 'ended',
};

/** Attributes of the symbol of a phase. A phase that this page does not know has no shape, and its name as text. */
const symbolOf = (phase: InstancePhase): string => `#phase-${phase}`;

/** The shape of a phase, hidden from screen readers: its name stands beside it. */
export function phaseIcon(phase: InstancePhase): SVGSVGElement {
  const icon = svg('svg', { class: 'phase', width: 12, height: 12, 'aria-hidden': 'true' }, svg('use'));
  setPhaseIcon(icon, phase);
  return icon;
}

/** Changes the phase that an icon shows. */
export function setPhaseIcon(icon: Element, phase: InstancePhase): void {
  setAttribute(icon, 'data-phase', phase);
  setAttribute(icon.tagName === 'use' ? icon : icon.firstElementChild!, 'href', symbolOf(phase));
}

/** The shape and the name of a phase. */
export function phaseLabel(phase: InstancePhase): HTMLSpanElement {
  const label = html('span', { class: 'phase-label' }, phaseIcon(phase), html('span'));
  setPhaseLabel(label, phase);
  return label;
}

/** Changes what a phase label shows. */
export function setPhaseLabel(label: Element, phase: InstancePhase, reason?: string): void {
  setPhaseIcon(label.firstElementChild!, phase);
  setText(label.lastElementChild!, phase);
  setAttribute(label, 'title', reason ?? PHASES[phase]);
}
