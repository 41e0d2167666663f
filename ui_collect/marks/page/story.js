// What marks say together: which can be, what a key makes of them, and the progress that results.
// The same rules as hitl_ops/labels/progress_marks.py and hitl_ops/samples/progress_rules.py.

// Why marks cannot be; null where they can.
export function problem(marks, length, stages) {
  let [level, last] = [0, -1];
  for (const { frame, stage, lost } of marks) {
    if (frame < 0 || frame >= length) return "That is beyond the episode.";
    if (stage < 1 || stage > stages) return `There are ${stages} stages.`;
    if (frame <= last) return "There is a mark at this frame already.";
    if (lost && stage > level) return `At frame ${frame} stage ${stage} would be lost before it is reached.`;
    if (!lost && stage !== level + 1) {
      return level >= stage
        ? `At frame ${frame} stage ${stage} has been reached already. Mark where it was lost, or remove the other mark.`
        : `Mark stage ${level + 1} first: at frame ${frame} ${level === 0 ? "no stage is reached" : `stage ${level} is`}.`;
    }
    [level, last] = [lost ? stage - 1 : stage, frame];
  }
  return null;
}

// The stage that has been reached before a frame.
export function levelBefore(marks, frame) {
  let level = 0;
  for (const mark of marks) if (mark.frame < frame) level = mark.lost ? mark.stage - 1 : mark.stage;
  return level;
}

export const finalLevel = (marks) => levelBefore(marks, Infinity);

const ordered = (marks) => marks.toSorted((a, b) => a.frame - b.frame);

// "Stage reached here": a new mark, or the one there is, moved. Gives { marks } or { problem }.
export function reached(marks, frame, stage, length, stages) {
  const others = marks.filter((mark) => mark.frame !== frame);
  const mark = { frame, stage, lost: false };
  const added = ordered([...others, mark]);
  const why = problem(added, length, stages);
  if (why === null) return { marks: added };
  const same = others.filter((other) => other.stage === stage && !other.lost);
  // The nearest first: after a setback a stage may be reached again.
  for (const moved of same.toSorted((a, b) => Math.abs(a.frame - frame) - Math.abs(b.frame - frame))) {
    const instead = ordered([...others.filter((other) => other !== moved), mark]);
    if (problem(instead, length, stages) === null) return { marks: instead };
  }
  const here = marks.find((other) => other.frame === frame);
  if (here !== undefined) {
    return { problem: `Stage ${here.stage} is marked at frame ${frame} already. Go on a frame, or remove that mark.` };
  }
  return { problem: why };
}

// "Lost here": the highest stage reached, and at the next press the one below.
export function lost(marks, frame, length, stages) {
  const here = marks.find((mark) => mark.frame === frame);
  const others = marks.filter((mark) => mark.frame !== frame);
  const stage = here?.lost ? here.stage - 1 : levelBefore(others, frame);
  if (stage < 1) return { problem: "Nothing that could be lost is reached before this frame." };
  return fitting(ordered([...others, { frame, stage, lost: true }]), length, stages);
}

export function removed(marks, frame, length, stages) {
  const others = marks.filter((mark) => mark.frame !== frame);
  return others.length === marks.length ? { problem: "There is no mark at this frame." } : fitting(others, length, stages);
}

// What can be of these; marks that no longer can are left out, and counted.
function fitting(marks, length, stages) {
  const kept = [];
  for (const mark of marks) if (problem([...kept, mark], length, stages) === null) kept.push(mark);
  return { marks: kept, dropped: marks.length - kept.length };
}

// Corners [frame, progress] of the curve: k/K + (1/K) * (position in segment / segment length).
export function corners(marks, length, stages) {
  const found = [[0, 0]];
  let level = 0;
  for (const { frame, stage, lost: gone } of marks) {
    if (gone) found.push([frame, level / stages]);
    level = gone ? stage - 1 : stage;
    found.push([frame, level / stages]);
  }
  found.push([length - 1, level / stages]);
  return found;
}

export function progressAt(marks, frame, stages) {
  const level = levelBefore(marks, frame + 1) / stages;
  const next = marks.find((mark) => mark.frame > frame);
  if (next === undefined || next.lost) return level;
  const begins = marks.findLast((mark) => mark.frame <= frame)?.frame ?? 0;
  return level + (frame - begins) / (next.frame - begins) / stages;
}
