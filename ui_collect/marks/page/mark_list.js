// The list of episodes, in the data set's order. What was marked meanwhile stays where it is until the filter is
// chosen anew, so that keys lead somewhere known.

const MARGIN = 12;

export const filters = { open: (item) => !item.done, all: () => true };

export class MarkList {
  constructor(place, chosen) {
    this.place = place;
    this.chosen = chosen;
    this.items = new Map();
    this.order = [];
    this.rows = new Map();
    this.filter = "open";
    this.marked = null;
  }

  take(items) {
    const kept = new Map(items.map((item) => [item.key, item]));
    this.items = new Map([...kept].map(([key, item]) => [key, Object.assign(this.items.get(key) ?? {}, item)]));
    this.refresh();
  }

  choose(filter) {
    this.filter = filter;
    this.order = [];
    this.refresh();
  }

  refresh() {
    const known = new Set(this.order);
    this.order = [...this.items.values()].filter((item) => known.has(item.key) || filters[this.filter](item)).map((item) => item.key);
    const rows = this.order.map((key) => this.row(key));
    if (rows.length !== this.place.children.length || rows.some((row, n) => row !== this.place.children[n])) {
      this.place.replaceChildren(...rows);
    }
    for (const key of this.order) this.tell(this.items.get(key));
    this.mark(this.marked);
  }

  include(key) {
    if (this.order.includes(key) || !this.items.has(key)) return;
    this.order.push(key);
    this.refresh();
  }

  first() {
    const open = this.order.filter((key) => filters.open(this.items.get(key)));
    return open.find((key) => this.items.get(key).looked_at_by === null) ?? open[0] ?? this.order[0] ?? null;
  }

  beside(key, step) {
    return this.order[this.order.indexOf(key) + step] ?? null;
  }

  // What to mark after this one: the next that is open and that nobody else looks at, otherwise the next open one.
  after(key) {
    const place = this.order.indexOf(key);
    const around = [...this.order.slice(place + 1), ...this.order.slice(0, place)];
    const open = around.filter((other) => filters.open(this.items.get(other)));
    return open.find((other) => this.items.get(other).looked_at_by === null) ?? open[0] ?? null;
  }

  counts() {
    const all = [...this.items.values()];
    return Object.fromEntries(Object.entries(filters).map(([which, fits]) => [which, all.filter(fits).length]));
  }

  mark(key) {
    this.marked = key;
    for (const [other, row] of this.rows) {
      if (other === key) row.firstElementChild.setAttribute("aria-current", "true");
      else row.firstElementChild.removeAttribute("aria-current");
    }
    const row = this.rows.get(key);
    const pane = this.place.parentElement;
    if (row === undefined || pane.scrollHeight <= pane.clientHeight) return;
    // Within the list alone: on a phone, where the list is part of the page, nothing shall jump.
    const [seen, its] = [pane.getBoundingClientRect(), row.getBoundingClientRect()];
    if (its.top < seen.top) pane.scrollTop -= seen.top - its.top + MARGIN;
    else if (its.bottom > seen.bottom) pane.scrollTop += its.bottom - seen.bottom + MARGIN;
  }

  row(key) {
    let row = this.rows.get(key);
    if (row !== undefined) return row;
    const item = this.items.get(key);
    row = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "row";
    button.tabIndex = -1;
    button.addEventListener("click", () => this.chosen(key));
    const name = document.createElement("b");
    name.textContent = `Episode ${item.index}`;
    const more = document.createElement("small");
    more.textContent = `${item.frames} frames`;
    const chips = document.createElement("span");
    chips.className = "chips";
    button.append(name, more, chips);
    row.append(button);
    this.rows.set(key, row);
    return row;
  }

  // Say in an episode's row what is said of it now.
  tell(item) {
    const chips = this.rows.get(item.key)?.querySelector(".chips");
    if (!chips) return;
    const top = Math.max(0, ...item.marks.filter((mark) => !mark.lost).map((mark) => mark.stage));
    const told = [];
    if (item.done) told.push([top === 0 ? "nothing reached" : `stage ${top} reached`, "good"]);
    else if (item.marks.length > 0) told.push([`begun: stage ${top}`, ""]);
    if (item.marks.some((mark) => mark.lost)) told.push(["setback", "bad"]);
    if (item.looked_at_by !== null) told.push([item.looked_at_by, "taken"]);
    chips.replaceChildren(
      ...told.map(([text, kind]) => {
        const element = document.createElement("span");
        element.className = `chip ${kind}`;
        element.textContent = text;
        return element;
      }),
    );
  }
}
