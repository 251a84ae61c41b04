/** A request to the worker of `programs/worker.ts`: return the numbers from 0, and misbehave in the given way. */
export interface NumbersRequest {
  /** The caller's number for this call; each item carries it. */
  readonly call: number;
  readonly items: number;
  /** Throws instead of sending this item. */
  readonly failAt?: number;
  /** Waits before each item. */
  readonly paceMs?: number;
  /** Never sends this item nor any after it, until the caller leaves. */
  readonly hangAt?: number;
}

export interface NumbersItem {
  readonly call: number;
  readonly index: number;
}
