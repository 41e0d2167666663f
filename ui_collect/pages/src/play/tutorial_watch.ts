/** Notices what somebody in the tutorial has done. */

import { parseAction } from "../acting/names.ts";
import type { Control } from "../household/own_pose.ts";
import { wrapped, type Pose } from "../household/pose.ts";
import type { Step, TutorialPanel } from "../panels/tutorial_panel.ts";

const TURNED = 0.7;
const WALKED = 0.8;

const STEP_OF: Record<string, Step> = { Open: "open", Pick: "pick", Navigate: "go", Place: "place" };

export class TutorialWatch {
  private turned = 0;
  private walked = 0;
  private readonly panel: TutorialPanel;

  constructor(panel: TutorialPanel) {
    this.panel = panel;
  }

  /** The person has steered from one pose to the next. */
  moved(before: Pose, after: Pose, control: Control): void {
    if (control.turn !== 0) this.turned += Math.abs(wrapped(after.yaw - before.yaw));
    if (control.forward !== 0 || control.strafe !== 0) {
      this.walked += Math.hypot(after.x - before.x, after.z - before.z);
    }
    if (this.turned > TURNED) this.panel.tick("turn");
    if (this.walked > WALKED) this.panel.tick("walk");
  }

  /** An action of the person has succeeded. */
  did(action: string): void {
    const step = STEP_OF[parseAction(action).tool];
    if (step !== undefined) this.panel.tick(step);
  }
}
