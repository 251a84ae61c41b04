import { describe } from 'vitest';

import { describeLives } from '../../helpers/nixl/close-states.js';
import { useTransport } from '../../helpers/nixl/library.js';

useTransport('mock');

const LIVES = Number(process.env['LIVES'] ?? 10_000);

describe('NIXL on the mock', () => describeLives('mock', LIVES, LIVES * 100));
