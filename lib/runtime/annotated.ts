import { packBorrowed } from '../addon/codec.js';
import type { PulledItem } from '../addon/pull.js';

/** An item with what Dynamo's wire lets travel beside its data. */
export interface AnnotatedFields<T> {
  readonly data?: T;
  readonly id?: string;
  /** Any name but `error`, which is how failures travel. */
  readonly event?: string;
  readonly comments?: readonly string[];
}

/** Yielded by a handler it sends its fields; callers that ask for `annotated` items receive it. */
export class Annotated<T> implements AnnotatedFields<T> {
  readonly data?: T;
  readonly id?: string;
  readonly event?: string;
  readonly comments?: readonly string[];

  constructor(fields: AnnotatedFields<T>) {
    if (fields.event === 'error') throw new TypeError("Annotated event: 'error' is how failures travel: throw one instead");
    Object.assign(this, fields);
  }

  /** @internal As `packBorrowed` does. */
  pack(): Uint8Array {
    const { data, id, event, comments } = this;
    const fields: Record<string, unknown> = {};
    if (data !== undefined) fields['data'] = data;
    if (id !== undefined) fields['id'] = id;
    if (event !== undefined) fields['event'] = event;
    if (comments !== undefined) fields['comment'] = comments;
    return packBorrowed(fields);
  }
}

interface Wire<T> {
  data?: T;
  id?: string;
  event?: string;
  comment?: string[];
}

/** The data of an item, or undefined where it carries none. */
export function dataOf<T>(item: PulledItem): T | undefined {
  if (!item.annotated) return item.unpack() as T;
  return (item.unpack() as Wire<T>).data ?? undefined;
}

export function annotatedOf<T>(item: PulledItem): Annotated<T> {
  if (!item.annotated) return new Annotated<T>({ data: item.unpack() as T });
  const { data, id, event, comment } = item.unpack() as Wire<T>;
  return new Annotated<T>({
    ...(data === undefined ? {} : { data }),
    ...(id === undefined ? {} : { id }),
    ...(event === undefined ? {} : { event }),
    ...(comment === undefined ? {} : { comments: comment }),
  });
}
