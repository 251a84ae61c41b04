import type { StreamItem } from '../addon/stream.js';
import { checkString } from '../check.js';
import { badArgument } from '../errors.js';
import { anything, custom, listOf, type OptionTable, optionTable, text } from '../options.js';

/** An item with the annotations that Dynamo's wire format allows beside its data. */
export interface AnnotatedFields<T> {
  readonly data?: T;
  readonly id?: string;
  /** Any name except `error`, which marks failures. */
  readonly event?: string;
  readonly comments?: readonly string[];
}

const FIELDS: OptionTable<AnnotatedFields<unknown>> = optionTable<AnnotatedFields<unknown>>({
  data: anything,
  id: text,
  event: custom<string>('a string', checkEvent, 'text'),
  comments: listOf(text, 'strings'),
});

function checkEvent(path: string, value: unknown): void {
  checkString(path, value);
  if (value === 'error') throw badArgument(new TypeError(`${path}: 'error' marks failures: throw an error instead`));
}

/** A handler yields it to send annotations. Callers receive them from `generateAnnotated`. */
export class Annotated<T> implements AnnotatedFields<T> {
  readonly data?: T;
  readonly id?: string;
  readonly event?: string;
  readonly comments?: readonly string[];

  constructor(fields: AnnotatedFields<T>) {
    FIELDS.check('Annotated fields', fields);
    Object.assign(this, fields);
  }

  /** @internal The fields under their names on the wire. */
  wire(): object {
    const { data, id, event, comments } = this;
    const fields: Record<string, unknown> = {};
    if (data !== undefined) fields['data'] = data;
    if (id !== undefined) fields['id'] = id;
    if (event !== undefined) fields['event'] = event;
    if (comments !== undefined) fields['comment'] = comments;
    return fields;
  }
}

interface Wire<T> {
  data?: T;
  id?: string;
  event?: string;
  comment?: string[];
}

/** The data of an item, or undefined if it has none. An item without any field represents null. */
export function dataOf<T>(item: StreamItem): T | undefined {
  if (!item.annotated) return item.unpack() as T;
  const { data, id, event, comment } = item.unpack() as Wire<T>;
  const isNull = (data ?? id ?? event ?? comment ?? null) === null;
  return data ?? (isNull ? (null as T) : undefined);
}

export function annotatedOf<T>(item: StreamItem): Annotated<T> {
  if (!item.annotated) return new Annotated<T>({ data: item.unpack() as T });
  const { data, id, event, comment } = item.unpack() as Wire<T>;
  return new Annotated<T>({
    ...(data === undefined ? {} : { data }),
    ...(id === undefined ? {} : { id }),
    ...(event === undefined ? {} : { event }),
    ...(comment === undefined ? {} : { comments: comment }),
  });
}
