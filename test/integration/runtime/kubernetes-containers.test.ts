import { describe } from 'vitest';

import { describeKubernetes } from '../../helpers/runtime/kubernetes-discovery.js';

describe('discovery by container, through a mock API server of Kubernetes', () => describeKubernetes('container'));
