import { describeOnMock } from '../../helpers/nixl/on-mock.js';

describeOnMock('thread');
