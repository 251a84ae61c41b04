/** What the worker of `programs/worker.ts` is asked: to give the numbers from 0 on, and how to misbehave meanwhile. */
export interface NumbersRequest {
  /** The caller's number for this call; each item carries it. */
  readonly call: number;
  readonly items: number;
  /** Throws instead of giving this item. */
  readonly failAt?: number;
  /** Waits before each item. */
  readonly paceMs?: number;
  /** Never gives this item nor any after it, until the caller goes away. */
  readonly hangAt?: number;
}

export interface NumbersItem {
  readonly call: number;
  readonly index: number;
}
