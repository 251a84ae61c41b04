import { describe } from 'vitest';
import { describeDeviceHandoff } from '../../helpers/disagg/device.js';

describe("a handoff with the mock's device memory", () => describeDeviceHandoff('mock'));
