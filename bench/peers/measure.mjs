/** Every index once, scattered. The order is the same in each program. */
export const scattered = (count, shift) =>
  Int32Array.from({ length: count }, (_, index) => (index * 101 + shift * 37) % count);

async function repeat(ms, minCalls, once) {
  const took = [];
  let before = process.hrtime();
  const begin = before;
  do {
    await once();
    const after = process.hrtime();
    took.push((after[0] - before[0]) * 1e9 + after[1] - before[1]);
    before = after;
  } while ((before[0] - begin[0]) * 1e3 + (before[1] - begin[1]) / 1e6 < ms || took.length < minCalls);
  return took;
}

/** Repeats each lane for `ms`, after a warm-up. Times are of one call. */
export async function measured(ms, { lanes, end }) {
  await Promise.all(lanes.map((once) => repeat(ms / 4, 1, once)));
  const begin = process.hrtime.bigint();
  const took = (await Promise.all(lanes.map((once) => repeat(ms, 2, once)))).flat();
  const all = Number(process.hrtime.bigint() - begin);
  await end?.();
  return { meanNs: all / took.length, p50Ns: took.sort((a, b) => a - b)[took.length >> 1] };
}
