/** What an annotator works with, whichever play they are at. */

import type { Notices } from "../panels/notices.ts";
import type { ActiveTime } from "./active_time.ts";
import type { AnnotateApi } from "./api.ts";
import type { Annotator } from "./annotator.ts";
import type { Keeper } from "./stored.ts";
import type { AnnotationOutbox } from "./unsent.ts";

export interface Desk {
  annotator: Annotator;
  api: AnnotateApi;
  outbox: AnnotationOutbox;
  keeper: Keeper;
  active: ActiveTime;
  notices: Notices;
  /** A request failed: shows what it means, and says whether trying again later may help. */
  failed(error: unknown): boolean;
}
