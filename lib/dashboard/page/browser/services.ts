import type { DashboardSnapshot, ServiceView, SourceView } from '../../view.js';
import { byId, html, Keyed, setAttribute, setText } from './dom.js';
import { formatWhole } from './format.js';
import { LiveTable } from './live-table.js';

const sum = ({ instances }: ServiceView, field: 'running' | 'queued'): number | undefined => {
  const known = instances.flatMap(({ flow }) => flow[field] ?? []);
  return known.length === 0 ? undefined : known.reduce((total, value) => total + value, 0);
};

/** What a person can do with a service. */
export interface ServiceActions {
  /** Shows its instances. */
  select(service: string): void;
  /** Asks for another number of workers. */
  scale(service: ServiceView): void;
  /** Why no service can be scaled, or undefined. */
  scaleRefusal(): string | undefined;
}

/** The table of services with the scale buttons, and the sources of the data. */
export class ServicesPanel {
  readonly #table: LiveTable<ServiceView>;
  readonly #sources: Keyed<SourceView, HTMLLIElement>;
  readonly #actions: ServiceActions;
  #services: readonly ServiceView[] = [];

  constructor(actions: ServiceActions) {
    this.#actions = actions;
    const current = (name: string) => this.#services.find((service) => service.name === name);
    this.#table = new LiveTable(byId('services-table'), {
      caption: 'Services',
      keyOf: ({ name }) => name,
      empty: 'No service is known yet.',
      columns: [
        {
          title: 'Service',
          sortBy: ({ name }) => name,
          create: (cell, { name }) => {
            const button = html('button', { type: 'button', class: 'link', title: 'Show its instances' }, name);
            button.addEventListener('click', () => actions.select(name));
            cell.append(button);
          },
        },
        { title: 'Role', text: ({ role }) => role, sortBy: ({ role }) => role },
        {
          title: 'Ready',
          hint: 'Ready instances, and the number that the service was last set to',
          isNumber: true,
          text: ({ ready, desired, instances }) => `${ready} / ${desired ?? instances.length}`,
          sortBy: ({ ready }) => ready,
        },
        {
          title: 'Running',
          isNumber: true,
          text: (row) => formatWhole(sum(row, 'running')),
          sortBy: (row) => sum(row, 'running'),
        },
        {
          title: 'Queued',
          isNumber: true,
          text: (row) => formatWhole(sum(row, 'queued')),
          sortBy: (row) => sum(row, 'queued'),
        },
        {
          title: 'Scale',
          create: (cell, { name }) => {
            const button = html('button', { type: 'button', class: 'small', 'aria-label': `Scale ${name}` }, 'Scale…');
            button.addEventListener('click', () => {
              const service = current(name);
              if (service !== undefined) actions.scale(service);
            });
            cell.append(button);
          },
          update: (cell, { canScale }) => {
            const button = cell.firstElementChild as HTMLButtonElement;
            const refusal = actions.scaleRefusal();
            button.hidden = !canScale;
            button.disabled = refusal !== undefined;
            setAttribute(button, 'title', refusal);
          },
        },
      ],
    });
    this.#sources = new Keyed(
      byId('sources-list'),
      () => html('li'),
      (element, { name, state, message }) => {
        setAttribute(element, 'data-state', state);
        setText(element, `${name}: ${state}${message === undefined ? '' : `, ${message}`}`);
      },
    );
  }

  render({ services, sources }: DashboardSnapshot): void {
    this.#services = services;
    this.refresh();
    this.#sources.show(sources, ({ name }) => name);
  }

  /** Shows whether actions are possible now. */
  refresh(): void {
    this.#table.render(this.#services);
    const canScale = this.#services.some((service) => service.canScale);
    setText(byId('services-hint'), (canScale && this.#actions.scaleRefusal()) || '');
  }
}
