/** What is made of memory, after the memory was moved away from it. */
export function detached<T>(of: (memory: ArrayBuffer) => T): T {
  const memory = new ArrayBuffer(8);
  const made = of(memory);
  structuredClone(memory, { transfer: [memory] });
  return made;
}
