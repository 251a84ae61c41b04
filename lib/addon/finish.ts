/** Returns an iterator of the user's, whatever it does then. */
export function finish(iterator: AsyncIterator<unknown> | Iterator<unknown>): void {
  void (async () => iterator.return?.())().catch(() => {});
}
