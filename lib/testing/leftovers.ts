const removals = new Set<() => void>();
let isInstalled = false;

/**
 * Removes something when this process exits, if that has not been done before.
 *
 * @param remove synchronous
 * @returns a function that forgets it
 */
export function removeAtExit(remove: () => void): () => void {
  if (!isInstalled)
    process.on('exit', () => {
      for (const one of removals) one();
    });
  isInstalled = true;
  removals.add(remove);
  return () => void removals.delete(remove);
}
