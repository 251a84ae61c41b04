import { getCommand, listCommand } from './artifacts.js';
import { buildCommand } from './build.js';
import type { Command } from './command.js';
import { completionCommand } from './completion.js';
import { deployCommand } from './deploy.js';
import { DEPLOYMENT_COMMANDS } from './deployment.js';
import { doctorCommand } from './doctor.js';
import { graphCommand } from './graph.js';
import { logsCommand } from './logs.js';
import { newCommand } from './new.js';
import { PLANNER_COMMANDS } from './planner.js';
import type { CommandGroups } from './program.js';
import { psCommand } from './ps.js';
import { runCommand } from './run.js';
import { scaleCommand } from './scale.js';
import { serveCommand } from './serve.js';
import { stopCommand } from './stop.js';
import { topCommand } from './top.js';
import { uiCommand } from './ui.js';

/** All commands, in the order of help. */
export const COMMANDS: readonly Command[] = [
  runCommand,
  serveCommand,
  psCommand,
  scaleCommand,
  logsCommand,
  stopCommand,
  uiCommand,
  topCommand,
  buildCommand,
  listCommand,
  getCommand,
  deployCommand,
  ...DEPLOYMENT_COMMANDS,
  ...PLANNER_COMMANDS,
  graphCommand,
  newCommand,
  doctorCommand,
  completionCommand(() => COMMANDS),
];

/** The groups of commands of two words. */
export const GROUPS: CommandGroups = {
  deployment: 'Create, show, change and delete deployments in Kubernetes.',
  planner: 'Compare planners and fleets on a recorded load, without any GPU.',
};
