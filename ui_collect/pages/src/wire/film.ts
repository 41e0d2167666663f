/** A recorded play: keyframes one after the other, each behind its length (ui_collect/annotate writes them). */

import { readKeyframe, type Keyframe } from "./keyframes.ts";

const LENGTH_BYTES = 4;

/**
 * Read all frames of a film.
 *
 * @throws RangeError where it is cut off; Error where it holds something unknown or does not begin with everything.
 */
export function readFilm(buffer: ArrayBuffer): Keyframe[] {
  const view = new DataView(buffer);
  const frames: Keyframe[] = [];
  let at = 0;
  while (at < buffer.byteLength) {
    const length = view.getUint32(at, true);
    at += LENGTH_BYTES;
    if (at + length > buffer.byteLength) throw new RangeError("the film is cut off");
    frames.push(readKeyframe(buffer.slice(at, at + length)));
    at += length;
  }
  if (frames[0]?.full !== true) throw new Error("the film does not begin with a full frame");
  return frames;
}
