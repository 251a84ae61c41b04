import { guarded } from '../addon/callback.js';
import { shown } from '../errors.js';
import type { Endpoint } from '../runtime/endpoint.js';
import type { Gauge } from '../runtime/metrics.js';
import { blockSizeCheck, type ModelCard } from '../runtime/model-cards.js';

/** Another worker of the same model, endpoint and worker type, with which a frontend does not combine this one. */
export interface CardConflict {
  /** The other worker. */
  readonly instanceId: bigint;
  readonly model: string;
  /**
   * What differs, by option: `modelPath`, `contextLength`, `kvCacheBlockSize`, `chatTemplate`, … Files of the model,
   * such as `tokenizer`, are named by their checksums. `undefined` is a value that the card does not have.
   */
  readonly differences: Readonly<
    Record<string, { readonly own: string | undefined; readonly other: string | undefined }>
  >;
}

interface CardConflictsOptions {
  readonly changed?: ((conflicts: readonly CardConflict[]) => unknown) | undefined;
  /** The block size of the events that the worker publishes, if it is known. */
  readonly blockSize?: number | undefined;
}

function differencesOf(own: ModelCard, other: ModelCard): CardConflict['differences'] {
  const names = new Set([...Object.keys(own.fields), ...Object.keys(other.fields)]);
  const differing = [...names].filter((name) => own.fields[name] !== other.fields[name]);
  // Most data of the runtime may differ. It is named only if nothing else explains the checksums.
  const named = differing.length > 1 ? differing.filter((name) => name !== 'runtimeData') : differing;
  return Object.fromEntries(named.map((name) => [name, { own: own.fields[name], other: other.fields[name] }]));
}

function conflictsOf(cards: readonly ModelCard[], own: bigint): [ModelCard, CardConflict][] {
  return cards
    .filter(({ instanceId }) => instanceId === own)
    .flatMap((mine) =>
      cards
        .filter(({ group, checksum, instanceId }) => {
          return instanceId !== own && group === mine.group && checksum !== mine.checksum;
        })
        .map((other): [ModelCard, CardConflict] => {
          const { instanceId, model } = other;
          return [other, { instanceId, model, differences: differencesOf(mine, other) }];
        }),
    );
}

/** Workers with equal copies of a model agree on one path soon after they have registered (`llm/copies.rs`). */
const AGREE_MS = 5000;

const isOnlyPath = ({ differences }: CardConflict): boolean => Object.keys(differences).join() === 'modelPath';

const keyOf = ({ instanceId, suffix, checksum }: ModelCard): string => `${instanceId}/${suffix}/${checksum}`;

const MAX_SHOWN = 300;

function quoted(value: string | undefined): string {
  if (value === undefined) return 'absent';
  return JSON.stringify(value.length > MAX_SHOWN ? `${value.slice(0, MAX_SHOWN)}…` : value);
}

const inWords = ({ differences }: CardConflict): string =>
  Object.entries(differences)
    .map(([name, { own, other }]) => `${name} is ${quoted(own)} here and ${quoted(other)} there`)
    .join(', ');

/**
 * Watches the model cards of an endpoint for those that a frontend does not combine with this worker's. Such a frontend
 * sends requests only to the workers whose cards equal the first one that it saw. Each kind of conflict is reported
 * once, as a warning `DYN_CARD_CONFLICT` of the process. Source: `dynamo-llm` `discovery/controller.rs`.
 */
export class CardConflicts {
  readonly #reported = new Set<string>();
  readonly #changed: (conflicts: readonly CardConflict[]) => void;
  readonly #endpoint: Endpoint;
  readonly #end: () => void;
  /** Conflicts of only the path that have lasted. */
  readonly #lasting = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #gauge: Gauge | undefined;
  #key = '';
  current: readonly CardConflict[] = [];

  constructor(endpoint: Endpoint, { changed = () => {}, blockSize }: CardConflictsOptions = {}) {
    this.#endpoint = endpoint;
    this.#changed = guarded('onCardConflicts', changed);
    const compare = blockSize === undefined ? () => {} : blockSizeCheck(`the cache of ${endpoint.path}`, blockSize);
    this.#end = endpoint.watchCards((cards, own) => {
      this.#settle(conflictsOf(cards, own));
      compare(cards.filter(({ instanceId }) => instanceId === own));
    });
  }

  #settle(found: readonly [ModelCard, CardConflict][]): void {
    clearTimeout(this.#timer);
    const settled = found.filter(([card, conflict]) => !isOnlyPath(conflict) || this.#lasting.has(keyOf(card)));
    this.#update(settled);
    if (settled.length === found.length) return;
    this.#timer = setTimeout(() => {
      for (const [card] of found) this.#lasting.add(keyOf(card));
      this.#update(found);
    }, AGREE_MS).unref();
  }

  #update(found: readonly [ModelCard, CardConflict][]): void {
    const key = found.map(([card]) => keyOf(card)).join();
    if (key === this.#key) return;
    this.#key = key;
    this.current = found.map(([, conflict]) => conflict);
    this.#measure();
    for (const [{ checksum }, conflict] of found) {
      if (this.#reported.has(checksum)) continue;
      this.#reported.add(checksum);
      process.emitWarning(
        `worker ${conflict.instanceId} of model ${shown(conflict.model)} at ${this.#endpoint.path} has another card: ` +
          `${inWords(conflict)}. A frontend sends requests to one of the two only: start all with the same values`,
        { code: 'DYN_CARD_CONFLICT' },
      );
    }
    this.#changed(this.current);
  }

  #measure(): void {
    if (this.#gauge === undefined && this.current.length === 0) return;
    this.#gauge ??= this.#endpoint.metrics.gauge({
      name: 'model_card_conflicts',
      help: 'Workers of the same model whose model card differs from that of this worker',
    });
    this.#gauge.set(this.current.length);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#end();
  }
}
