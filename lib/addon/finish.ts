/** Returns a user's iterator and ignores its errors. */
export function finish(iterator: AsyncIterator<unknown> | Iterator<unknown>): void {
  void (async () => iterator.return?.())().catch(() => {});
}
