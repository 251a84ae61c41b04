import { describe } from 'vitest';

import { describeKubernetes } from '../../helpers/runtime/kubernetes-discovery.js';

describe('discovery by container, through a stand-in for the API server of Kubernetes', () =>
  describeKubernetes('container'));
