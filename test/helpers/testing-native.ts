import { native } from '../../lib/addon/invoke.js';
import type { Native, TestingNative } from '../../lib/addon/native.js';

/** The native functions of a build for tests and benchmarks. */
export const testing = native as Native & TestingNative;
