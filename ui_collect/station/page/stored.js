// What the browser keeps. Where it refuses (private windows, strict settings), things last until the page is left.

export function keep(storage, name, value) {
  try {
    if (value === null) storage.removeItem(name);
    else storage.setItem(name, JSON.stringify(value));
  } catch {
    // it stays in memory
  }
}

export function read(storage, name) {
  try {
    return JSON.parse(storage.getItem(name));
  } catch {
    return null;
  }
}

export function names(storage) {
  try {
    return Object.keys(storage);
  } catch {
    return [];
  }
}
