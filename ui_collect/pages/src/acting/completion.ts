/** Finding a name from a few typed letters. */

export interface Option {
  value: string;
  label: string;
  /** Said beside the label, e.g. which room it is in. */
  hint: string;
  group: string;
}

/** Options that match, best first; all of them, in their own order, while nothing is typed. */
export function completions(options: readonly Option[], typed: string): Option[] {
  const wanted = typed.trim().toLowerCase().replaceAll("_", " ");
  if (!wanted) return [...options];
  const scored = options.flatMap((option, order) => {
    const score = scoreOf(option, wanted);
    return score === null ? [] : [{ option, score, order }];
  });
  scored.sort((a, b) => a.score - b.score || a.order - b.order);
  return scored.map(({ option }) => option);
}

/** How badly an option fits, 0 best; null for not at all. */
function scoreOf(option: Option, wanted: string): number | null {
  const label = option.label.toLowerCase();
  const name = option.value.toLowerCase().replaceAll("_", " ");
  if (label === wanted || name === wanted) return 0;
  if (label.startsWith(wanted)) return 1;
  const words = `${label} ${name}`.split(" ");
  const parts = wanted.split(/\s+/);
  if (parts.every((part) => words.some((word) => word.startsWith(part)))) return 2;
  if (label.includes(wanted) || name.includes(wanted)) return 3;
  const hint = option.hint.toLowerCase();
  if (parts.every((part) => label.includes(part) || hint.includes(part))) return 4;
  return inOrder(label, wanted) ? 5 : null;
}

function inOrder(text: string, letters: string): boolean {
  let at = -1;
  for (const letter of letters) {
    at = text.indexOf(letter, at + 1);
    if (at < 0) return false;
  }
  return true;
}
