import type { DashboardSnapshot } from '../../view.js';
import { Session } from './api.js';
import { ChartsPanel } from './charts.js';
import { Connection } from './connection.js';
import { DecisionsPanel } from './decisions.js';
import { byId, setText } from './dom.js';
import { GraphPanel } from './graph.js';
import { HeaderPanel } from './header.js';
import { InstancesPanel } from './instances.js';
import { LogsPanel } from './logs.js';
import { ScaleDialog } from './scale-dialog.js';
import { ServicesPanel } from './services.js';
import { TOKEN_REFUSALS, tokenDialog } from './token-dialog.js';
import { TracesPanel } from './traces.js';
import { TransfersPanel } from './transfers.js';

const AGE_MS = 500;
/** A task is at most about this long, so that the page reacts to a key at once. */
const SLICE_MS = 8;
const NOTICE_MS = 20_000;

const session = new Session();
const header = new HeaderPanel();
const charts = new ChartsPanel();
const logs = new LogsPanel(session);
const instances = new InstancesPanel((id) => logs.show(id));
const select = (service: string) => instances.filter(service);
const graph = new GraphPanel(select);
const traces = new TracesPanel(session);

let noticeTimer: ReturnType<typeof setTimeout> | undefined;

/** Shows what an action has done, for some time. */
function notify(text: string): void {
  const notice = byId('notice');
  setText(notice, text);
  notice.hidden = false;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => {
    notice.hidden = true;
  }, NOTICE_MS);
}

const scaleDialog = new ScaleDialog(session, notify);
const services = new ServicesPanel({
  select,
  scale: (service) => scaleDialog.open(service),
  scaleRefusal: () => TOKEN_REFUSALS[session.state],
});
const panels = [header, graph, services, instances, traces, new TransfersPanel(), new DecisionsPanel(), logs];
const steps = [...panels.map((panel) => panel.render.bind(panel)), ...charts.steps];

let waiting: DashboardSnapshot | undefined;
let isDrawing = false;

/** Draws the last snapshot from the next frame on, in short tasks. A hidden page draws when it is shown. */
async function draw(): Promise<void> {
  if (isDrawing) return;
  isDrawing = true;
  while (waiting !== undefined) {
    await new Promise(requestAnimationFrame);
    const snapshot = waiting;
    waiting = undefined;
    let beganAt = performance.now();
    for (const step of steps) {
      try {
        step(snapshot);
      } catch (error) {
        // A panel that cannot show something must not stop the others.
        reportError(error);
      }
      if (performance.now() - beganAt < SLICE_MS) continue;
      await new Promise((resolve) => setTimeout(resolve));
      beganAt = performance.now();
    }
  }
  isDrawing = false;
}

const connection = new Connection({
  history: (history) => charts.replace(history),
  snapshot: (snapshot) => {
    charts.add(snapshot);
    waiting = snapshot;
    void draw();
  },
  state: (state) => header.showConnection(state),
});

byId('reconnect').addEventListener('click', () => connection.open());
setInterval(() => header.showAge(connection), AGE_MS);
tokenDialog(session);
session.onState(() => {
  services.refresh();
  traces.refresh();
  logs.refresh();
});
void session.check();
