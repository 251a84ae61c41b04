import type { PulledItem } from '../addon/stream.js';
import { checkArray, checkOptions, checkString } from '../check.js';

/** An item with what Dynamo's wire lets travel beside its data. */
export interface AnnotatedFields<T> {
  readonly data?: T;
  readonly id?: string;
  /** Any name but `error`, which is how failures travel. */
  readonly event?: string;
  readonly comments?: readonly string[];
}

const PATH = 'Annotated fields';

/** Yielded by a handler it sends its fields; callers that ask for `annotated` items receive it. */
export class Annotated<T> implements AnnotatedFields<T> {
  readonly data?: T;
  readonly id?: string;
  readonly event?: string;
  readonly comments?: readonly string[];

  constructor(fields: AnnotatedFields<T>) {
    checkOptions(PATH, fields, ['data', 'id', 'event', 'comments']);
    const { id, event, comments } = fields;
    if (id !== undefined) checkString(`${PATH}.id`, id);
    if (event !== undefined) checkString(`${PATH}.event`, event);
    if (event === 'error') throw new TypeError(`${PATH}.event: 'error' is how failures travel: throw one instead`);
    if (comments !== undefined) checkArray(`${PATH}.comments`, comments, 'strings');
    comments?.forEach((comment, index) => checkString(`${PATH}.comments[${index}]`, comment));
    Object.assign(this, fields);
  }

  /** @internal The fields as they are named on the wire. */
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

/** The data of an item, or undefined where it carries none. An item of nothing at all is how null travels. */
export function dataOf<T>(item: PulledItem): T | undefined {
  if (!item.annotated) return item.unpack() as T;
  const { data, id, event, comment } = item.unpack() as Wire<T>;
  const isNull = (data ?? id ?? event ?? comment ?? null) === null;
  return data ?? (isNull ? (null as T) : undefined);
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
