// The list of episodes. Its order stays as it was when the filter was chosen, so that arrow keys lead somewhere known:
// what got a verdict meanwhile stays where it is, what is new comes last.

import { address } from "./api.js";

const MARGIN = 12;

export const filters = {
  unlabelled: (item) => item.verdict === null && !item.excluded,
  all: () => true,
  bad: (item) => item.verdict === "bad" && !item.excluded,
  good: (item) => item.verdict === "good" && !item.excluded,
};

// What an estimator proposes of an episode; null where it proposes nothing, or what it did is out of date.
export const proposed = (item) => (item.proposal !== null && item.proposal.stale === "" ? item.proposal : null);

export class EpisodeList {
  constructor(place, chosen) {
    this.place = place;
    this.chosen = chosen;
    this.items = new Map();
    this.order = [];
    this.rows = new Map();
    this.sorted = [];
    this.filter = "unlabelled";
    this.doubtfulFirst = false;
    this.marked = null;
  }

  take(items) {
    const kept = new Map(items.map((item) => [item.key, item]));
    for (const [key, item] of kept) this.items.set(key, Object.assign(this.items.get(key) ?? {}, item));
    for (const key of [...this.items.keys()]) if (!kept.has(key)) this.items.delete(key);
    // The server's order: tasks, epochs, numbers; what is alike here keeps it.
    this.sorted = items.map((item) => item.key);
    this.sort();
    this.refresh();
    for (const key of this.order) this.tell(this.items.get(key));
  }

  choose(filter) {
    this.filter = filter;
    this.order = [];
    this.sort();
    this.refresh();
  }

  // Without a verdict first; of those, if so chosen, what the estimator is least sure of; then by epoch.
  sort() {
    const place = (key) => {
      const item = this.items.get(key);
      const open = filters.unlabelled(item);
      return [Number(!open), open && this.doubtfulFirst ? -(proposed(item)?.doubt ?? -1) : 0, item.epoch];
    };
    const places = new Map(this.sorted.map((key) => [key, place(key)]));
    this.sorted.sort((a, b) => {
      const [one, other] = [places.get(a), places.get(b)];
      return one[0] - other[0] || one[1] - other[1] || one[2] - other[2];
    });
  }

  refresh() {
    const fits = filters[this.filter];
    const there = this.order.filter((key) => this.items.has(key));
    const known = new Set(there);
    this.order = [...there, ...this.sorted.filter((key) => !known.has(key) && fits(this.items.get(key)))];
    const rows = this.order.map((key) => this.row(key));
    if (rows.length !== this.place.children.length || rows.some((row, n) => row !== this.place.children[n])) {
      this.place.replaceChildren(...rows);
    }
    this.mark(this.marked);
  }

  include(key) {
    if (this.order.includes(key) || !this.items.has(key)) return;
    this.order.push(key);
    this.place.append(this.row(key));
  }

  first() {
    const fitting = this.order.filter((key) => filters[this.filter](this.items.get(key)));
    return fitting.find((key) => this.items.get(key).looked_at_by === null) ?? fitting[0] ?? null;
  }

  // One without a verdict that nobody else looks at.
  free() {
    const open = this.order.map((key) => this.items.get(key)).filter(filters.unlabelled);
    return open.find((item) => item.looked_at_by === null)?.key ?? null;
  }

  beside(key, step) {
    return this.order[this.order.indexOf(key) + step] ?? null;
  }

  // What to look at after a verdict: the next without one that nobody else looks at, otherwise simply the next.
  after(key) {
    const place = this.order.indexOf(key);
    const around = [...this.order.slice(place + 1), ...this.order.slice(0, place)];
    const open = around.filter((other) => filters.unlabelled(this.items.get(other)));
    const free = open.find((other) => this.items.get(other).looked_at_by === null) ?? open[0];
    return free ?? (this.filter === "unlabelled" ? null : this.beside(key, 1));
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
    if (row !== undefined) this.bringIntoView(row);
  }

  // Within the list alone: on a phone, where the list is part of the page, nothing shall jump.
  bringIntoView(row) {
    const pane = this.place.parentElement;
    if (pane.scrollHeight <= pane.clientHeight) return;
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
    let picture = document.createElement("span");
    picture.className = "no-picture";
    picture.textContent = "no video";
    if (item.cameras.length > 0) {
      picture = document.createElement("img");
      picture.loading = "lazy";
      picture.alt = "";
      picture.src = address(`episodes/${key}/poster`);
    }
    const name = document.createElement("b");
    name.textContent = `Episode ${item.number}`;
    const more = document.createElement("small");
    more.textContent = `epoch ${item.epoch} · ${item.seconds.toFixed(0)} s`;
    const chips = document.createElement("span");
    chips.className = "chips";
    button.append(picture, name, more, chips);
    row.append(button);
    this.rows.set(key, row);
    this.tell(item);
    return row;
  }

  // Say in an episode's row what is said of it now.
  tell(item) {
    const chips = this.rows.get(item.key)?.querySelector(".chips");
    if (!chips) return;
    const told = [];
    if (item.excluded) told.push(["not used", ""]);
    else if (item.verdict !== null) told.push([item.verdict, item.verdict === "good" ? "good" : "wrong"]);
    if (item.said === null && item.verdict !== null) told.push(["station", ""]);
    const proposal = filters.unlabelled(item) ? proposed(item) : null;
    if (proposal !== null) {
      const word = proposal.said === "unsure" ? "unsure" : `${proposal.said}?`;
      told.push([`${word} ${proposal.score.toFixed(2)}`, "proposed"]);
    }
    if (item.aborted !== null) told.push(["aborted", "bad"]);
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
