export { randomNumbers } from '../../lib/planner/core/simulate/random.js';
