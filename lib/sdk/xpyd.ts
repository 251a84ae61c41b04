import { wrongType } from '../check.js';

/** The numbers of prefill and decode workers of a disaggregated deployment. */
export interface XPyD {
  readonly prefill: number;
  readonly decode: number;
}

/**
 * Reads the short form: `3P2D` is 3 prefill and 2 decode workers.
 *
 * @throws TypeError for any other text
 */
export function parseXPyD(text: string): XPyD {
  const [, prefill, decode] = /^(\d{1,6})P(\d{1,6})D$/i.exec(text) ?? [];
  if (prefill === undefined || decode === undefined) wrongType('xPyD', "a text like '3P2D'", text);
  return { prefill: Number(prefill), decode: Number(decode) };
}

/** Writes the short form. */
export function formatXPyD({ prefill, decode }: XPyD): string {
  return `${prefill}P${decode}D`;
}
