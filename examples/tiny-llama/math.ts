/**
 * out = input x weightᵀ: [rows][inSize] by [outSize][inSize] makes [rows][outSize].
 *
 * Sums are in float64. Several are computed at a time, so that each value read from memory is used for several
 * products.
 */
export function matmul(
  out: Float32Array,
  input: Float32Array,
  weight: Float32Array,
  rows: number,
  inSize: number,
  outSize: number,
): void {
  let row = 0;
  for (; row + 4 <= rows; row += 4) fourRows(out, input, weight, row, inSize, outSize);
  for (; row < rows; row++) oneRow(out, input, weight, row, inSize, outSize);
}

function fourRows(
  out: Float32Array,
  input: Float32Array,
  weight: Float32Array,
  row: number,
  inSize: number,
  outSize: number,
): void {
  const x0 = row * inSize;
  const x1 = x0 + inSize;
  const x2 = x1 + inSize;
  const x3 = x2 + inSize;
  let column = 0;
  for (; column + 2 <= outSize; column += 2) {
    const w0 = column * inSize;
    const w1 = w0 + inSize;
    let sum00 = 0;
    let sum01 = 0;
    let sum10 = 0;
    let sum11 = 0;
    let sum20 = 0;
    let sum21 = 0;
    let sum30 = 0;
    let sum31 = 0;
    for (let i = 0; i < inSize; i++) {
      const weight0 = weight[w0 + i]!;
      const weight1 = weight[w1 + i]!;
      const input0 = input[x0 + i]!;
      const input1 = input[x1 + i]!;
      const input2 = input[x2 + i]!;
      const input3 = input[x3 + i]!;
      sum00 += input0 * weight0;
      sum01 += input0 * weight1;
      sum10 += input1 * weight0;
      sum11 += input1 * weight1;
      sum20 += input2 * weight0;
      sum21 += input2 * weight1;
      sum30 += input3 * weight0;
      sum31 += input3 * weight1;
    }
    const at = row * outSize + column;
    out[at] = sum00;
    out[at + 1] = sum01;
    out[at + outSize] = sum10;
    out[at + outSize + 1] = sum11;
    out[at + 2 * outSize] = sum20;
    out[at + 2 * outSize + 1] = sum21;
    out[at + 3 * outSize] = sum30;
    out[at + 3 * outSize + 1] = sum31;
  }
  for (; column < outSize; column++) {
    for (let each = row; each < row + 4; each++) {
      out[each * outSize + column] = dot(input, each * inSize, weight, column * inSize, inSize);
    }
  }
}

function oneRow(
  out: Float32Array,
  input: Float32Array,
  weight: Float32Array,
  row: number,
  inSize: number,
  outSize: number,
): void {
  const x0 = row * inSize;
  const at = row * outSize;
  let column = 0;
  for (; column + 8 <= outSize; column += 8) {
    const w0 = column * inSize;
    const w1 = w0 + inSize;
    const w2 = w1 + inSize;
    const w3 = w2 + inSize;
    const w4 = w3 + inSize;
    const w5 = w4 + inSize;
    const w6 = w5 + inSize;
    const w7 = w6 + inSize;
    let sum0 = 0;
    let sum1 = 0;
    let sum2 = 0;
    let sum3 = 0;
    let sum4 = 0;
    let sum5 = 0;
    let sum6 = 0;
    let sum7 = 0;
    for (let i = 0; i < inSize; i++) {
      const x = input[x0 + i]!;
      sum0 += x * weight[w0 + i]!;
      sum1 += x * weight[w1 + i]!;
      sum2 += x * weight[w2 + i]!;
      sum3 += x * weight[w3 + i]!;
      sum4 += x * weight[w4 + i]!;
      sum5 += x * weight[w5 + i]!;
      sum6 += x * weight[w6 + i]!;
      sum7 += x * weight[w7 + i]!;
    }
    out[at + column] = sum0;
    out[at + column + 1] = sum1;
    out[at + column + 2] = sum2;
    out[at + column + 3] = sum3;
    out[at + column + 4] = sum4;
    out[at + column + 5] = sum5;
    out[at + column + 6] = sum6;
    out[at + column + 7] = sum7;
  }
  for (; column < outSize; column++) {
    out[at + column] = dot(input, x0, weight, column * inSize, inSize);
  }
}

/** The scalar product of `size` elements of `a` from `aStart` and of `b` from `bStart`. */
export function dot(a: Float32Array, aStart: number, b: Float32Array, bStart: number, size: number): number {
  let sum0 = 0;
  let sum1 = 0;
  let sum2 = 0;
  let sum3 = 0;
  let i = 0;
  for (; i + 4 <= size; i += 4) {
    sum0 += a[aStart + i]! * b[bStart + i]!;
    sum1 += a[aStart + i + 1]! * b[bStart + i + 1]!;
    sum2 += a[aStart + i + 2]! * b[bStart + i + 2]!;
    sum3 += a[aStart + i + 3]! * b[bStart + i + 3]!;
  }
  for (; i < size; i++) sum0 += a[aStart + i]! * b[bStart + i]!;
  return sum0 + sum1 + (sum2 + sum3);
}

/**
 * Adds the weighted sum of `count` rows of `size` floats to `out`, from `outStart`. The rows begin at `rowStart` in
 * `rows`, `stride` floats apart. The weights begin at `weightStart`.
 */
export function addWeighted(
  out: Float32Array,
  outStart: number,
  size: number,
  weights: Float32Array,
  weightStart: number,
  count: number,
  rows: Float32Array,
  rowStart: number,
  stride: number,
): void {
  let i = 0;
  for (; i + 4 <= size; i += 4) {
    let sum0 = 0;
    let sum1 = 0;
    let sum2 = 0;
    let sum3 = 0;
    for (let row = 0, at = rowStart + i; row < count; row++, at += stride) {
      const weight = weights[weightStart + row]!;
      sum0 += weight * rows[at]!;
      sum1 += weight * rows[at + 1]!;
      sum2 += weight * rows[at + 2]!;
      sum3 += weight * rows[at + 3]!;
    }
    out[outStart + i]! += sum0;
    out[outStart + i + 1]! += sum1;
    out[outStart + i + 2]! += sum2;
    out[outStart + i + 3]! += sum3;
  }
  for (; i < size; i++) {
    for (let row = 0; row < count; row++) {
      out[outStart + i]! += weights[weightStart + row]! * rows[rowStart + i + row * stride]!;
    }
  }
}

/** Root-mean-square normalization of each row of `input`, [rows][weight.length], into `out`. */
export function rmsNorm(out: Float32Array, input: Float32Array, weight: Float32Array, rows: number, eps: number): void {
  const size = weight.length;
  for (let row = 0; row < rows; row++) {
    const start = row * size;
    const scale = 1 / Math.sqrt(dot(input, start, input, start, size) / size + eps);
    for (let i = 0; i < size; i++) out[start + i] = input[start + i]! * scale * weight[i]!;
  }
}

/** Converts the first `size` scores to probabilities that sum to 1, in place. */
export function softmax(scores: Float32Array | Float64Array, size = scores.length): void {
  let max = -Infinity;
  for (let i = 0; i < size; i++) if (scores[i]! > max) max = scores[i]!;
  let sum = 0;
  for (let i = 0; i < size; i++) {
    const e = Math.exp(scores[i]! - max);
    scores[i] = e;
    sum += e;
  }
  for (let i = 0; i < size; i++) scores[i]! /= sum;
}
