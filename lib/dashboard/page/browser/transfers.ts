import type { DashboardSnapshot, InstanceView, TransferView } from '../../view.js';
import { byId } from './dom.js';
import { formatByteRate, formatBytes, formatCount, formatMs } from './format.js';
import { type Column, LiveTable } from './live-table.js';

type Row = InstanceView & { readonly transfers: TransferView };

const number = (
  title: string,
  field: 'count' | 'failures' | 'bytes' | 'bytesPerSecond' | 'meanMs' | 'bandwidth',
  format: (value: number | undefined) => string,
  hint: string,
): Column<Row> => ({
  title,
  hint,
  isNumber: true,
  text: ({ transfers }) => format(transfers[field]),
  sortBy: ({ transfers }) => transfers[field],
});

const COLUMNS: readonly Column<Row>[] = [
  { title: 'Reader', text: ({ id }) => id, sortBy: ({ id }) => id },
  { title: 'Transport', text: ({ transfers }) => transfers.transport, sortBy: ({ transfers }) => transfers.transport },
  number('Now', 'bytesPerSecond', formatByteRate, 'Bytes a second since the last snapshot'),
  number('Bandwidth', 'bandwidth', formatByteRate, 'Bytes a second while a read runs'),
  number('Mean', 'meanMs', formatMs, 'The mean time of a read'),
  number('Bytes', 'bytes', formatBytes, 'Since its start'),
  number('Reads', 'count', formatCount, 'Since its start'),
  number('Failed', 'failures', formatCount, 'Since its start'),
];

/** The table of what workers have read from others. */
export class TransfersPanel {
  readonly #table = new LiveTable<Row>(byId('transfers-table'), {
    caption: 'Transfers',
    columns: COLUMNS,
    keyOf: ({ id }) => id,
    empty: 'No worker has reported a transfer.',
  });

  render({ services }: DashboardSnapshot): void {
    const hasTransfers = (instance: InstanceView): instance is Row => instance.transfers !== undefined;
    this.#table.render(services.flatMap(({ instances }) => instances).filter(hasTransfers));
  }
}
