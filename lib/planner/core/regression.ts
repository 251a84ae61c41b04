const ROUNDS = 4000;
const TOLERANCE = 1e-10;

/**
 * Least squares with coefficients that are not negative. A model of durations then rises with the load also where
 * nothing was measured. Method: coordinate descent on the normal equations with columns of equal length.
 *
 * @param rows features; all rows have one length
 * @param values the value of each row
 */
export function nonNegativeLeastSquares(
  rows: readonly (readonly number[])[],
  values: readonly number[],
): readonly number[] {
  const width = rows[0]?.length ?? 0;
  const columns = Array.from({ length: width }, (_, column) => rows.map((row) => row[column] as number));
  const dot = (a: readonly number[], b: readonly number[]): number =>
    a.reduce((sum, each, index) => sum + each * (b[index] as number), 0);
  const scales = columns.map((column) => Math.sqrt(dot(column, column)));
  const gram = columns.map((a, i) => columns.map((b, j) => dot(a, b) / ((scales[i] || 1) * (scales[j] || 1))));
  const targets = columns.map((column, i) => dot(column, values) / (scales[i] || 1));
  const found = new Array<number>(width).fill(0);
  for (let round = 0; round < ROUNDS; round++) {
    let [largest, moved] = [0, 0];
    for (let i = 0; i < width; i++) {
      if (scales[i] === 0) continue;
      const before = found[i] as number;
      const rest = dot(gram[i] as number[], found) - before;
      const after = Math.max(0, (targets[i] as number) - rest);
      found[i] = after;
      moved = Math.max(moved, Math.abs(after - before));
      largest = Math.max(largest, after);
    }
    if (moved <= TOLERANCE * largest) break;
  }
  return found.map((coefficient, i) => (scales[i] === 0 ? 0 : coefficient / (scales[i] as number)));
}
