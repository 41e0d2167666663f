/** The browser's storage where it allows one; otherwise what is kept lasts until the page is left. */

export interface Keeper {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
  /** How many keys there are, and the name of one. */
  readonly length: number;
  key(index: number): string | null;
}

export class ShortMemory implements Keeper {
  private readonly values = new Map<string, string>();

  getItem(key: string): string | null {
    return this.values.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    this.values.set(key, value);
  }

  removeItem(key: string): void {
    this.values.delete(key);
  }

  get length(): number {
    return this.values.size;
  }

  key(index: number): string | null {
    return [...this.values.keys()][index] ?? null;
  }
}

/** Local storage, or what stands in for it. */
export function browserKeeper(): Keeper {
  try {
    const probe = "flywheel.annotate.probe";
    window.localStorage.setItem(probe, "1");
    window.localStorage.removeItem(probe);
    return window.localStorage;
  } catch {
    return new ShortMemory();
  }
}

/** What was kept as JSON; `otherwise` where there is nothing, or nothing that can be read. */
export function readKept<T>(keeper: Keeper, key: string, otherwise: T): T {
  try {
    const kept = keeper.getItem(key);
    return kept === null ? otherwise : (JSON.parse(kept) as T);
  } catch {
    return otherwise;
  }
}

/** Keep a value as JSON; a full storage is no reason to stop working. */
export function keep(keeper: Keeper, key: string, value: unknown): boolean {
  try {
    keeper.setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

/** The keys that begin so. */
export function keptKeys(keeper: Keeper, prefix: string): string[] {
  const all = Array.from({ length: keeper.length }, (_, index) => keeper.key(index) ?? "");
  return all.filter((key) => key.startsWith(prefix));
}
