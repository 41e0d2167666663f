"use strict";

const EVERY_MS = 2000;
const byId = (id) => document.getElementById(id);

async function ask(method, path, body) {
  const answer = await fetch(path, {
    method,
    headers: body === undefined ? {} : { "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(said.message || `The server answered ${answer.status}.`), { status: answer.status });
  return said;
}

const bytes = (n) => (n >= 1e9 ? `${(n / 1e9).toFixed(1)} GB` : `${(n / 1e6).toFixed(1)} MB`);
const percent = (share) => (share === null || share === undefined ? "–" : `${(100 * share).toFixed(0)} %`);
const seconds = (s) => (s < 90 ? `${s} s` : `${Math.round(s / 60)} min`);

function rows(id, list, cells, none) {
  const body = byId(id);
  body.replaceChildren(
    ...list.map((item) => {
      const row = document.createElement("tr");
      for (const content of cells(item)) {
        const cell = document.createElement("td");
        cell.append(content);
        row.append(cell);
      }
      return row;
    }),
  );
  if (list.length === 0 && none) {
    const row = document.createElement("tr");
    const cell = document.createElement("td");
    cell.colSpan = 8;
    cell.textContent = none;
    row.append(cell);
    body.append(row);
  }
}

const sum = (counts) => Object.values(counts).reduce((total, n) => total + n, 0);

function show(figures) {
  const iteration = Number(document.body.dataset.iteration);
  const now = figures.iterations.find((one) => one.program === "planner" && one.iteration === iteration);
  byId("episodes").textContent = `${now ? now.plays_finished : 0} of ${figures.target}`;
  byId("progress").value = now ? now.plays_finished : 0;
  byId("success").textContent = percent(now && now.success_rate);
  byId("sessions").textContent = now ? sum(now.sessions_by_stage) : 0;
  byId("minutes").textContent = `${now ? now.human_minutes : 0} min`;
  byId("labels").textContent = now ? sum(now.labels_by_kind) : 0;
  byId("disk").textContent = `${bytes(figures.disk.sessions_bytes)} · ${bytes(figures.disk.free_bytes)} free`;
  byId("places").textContent = `${figures.places.taken} of ${figures.places.capacity} · ${figures.places.waiting}`;
  byId("lag").textContent = `${figures.loop_lag.p50_ms.toFixed(1)} · ${figures.loop_lag.p99_ms.toFixed(1)} ms`;
  rows("live", figures.live, (one) => [one.session, one.stage, one.episode, String(one.attempt || ""), one.connected ? "yes" : "away", seconds(one.quiet_s)], "Nobody is here.");
  rows("iterations", figures.iterations, (one) => [
    String(one.iteration).padStart(3, "0"), String(sum(one.sessions_by_stage)), String(one.plays_finished), String(one.episodes_finished),
    percent(one.success_rate), String(one.human_minutes), String(one.labels_by_kind.correction || 0), String(one.plays_reported),
  ], "Nothing collected yet.");
  const workers = figures.workers.workers.map((one, number) => one && { ...one, name: String(number) }).filter(Boolean);
  rows("workers", workers, (one) => [one.name, String(one.plays), percent(one.busy), `${one.late_ms_p99.toFixed(1)} ms`, String(one.slipped), `${one.memory_mb.toFixed(0)} MB`], "–");
}

function showInvitations(list) {
  rows("invitations", list, (one) => {
    const over = one.expires_at !== null && new Date(one.expires_at) <= new Date();
    let state = over ? "expired" : "open";
    if (one.revoked) state = "revoked";
    else if (!over) {
      state = document.createElement("button");
      state.type = "button";
      state.textContent = "Revoke";
      state.setAttribute("aria-label", `Revoke invitation ${one.id}`);
      state.addEventListener("click", () => ask("POST", `/admin/invitations/${one.id}/revoke`).then(refreshInvitations).catch(complain));
    }
    return [one.id, one.purpose, String(one.iteration), `${one.uses} of ${one.max_uses}`, one.expires_at ? one.expires_at.slice(0, 10) : "–", state];
  }, "None yet.");
}

function complain(error) {
  if (error.status === 401) return location.reload();
  byId("error").textContent = error.message;
  byId("error").hidden = false;
}

async function refresh() {
  try {
    show(await ask("GET", "/admin/api/overview"));
    byId("error").hidden = true;
  } catch (error) {
    complain(error);
  }
  setTimeout(refresh, document.hidden ? 5 * EVERY_MS : EVERY_MS);
}

const refreshInvitations = () => ask("GET", "/admin/invitations").then(showInvitations).catch(complain);

if (byId("login")) {
  byId("login").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await ask("POST", "/admin/login", { token: byId("token").value.trim() });
      location.reload();
    } catch (error) {
      byId("login-error").textContent = error.message;
      byId("login-error").hidden = false;
    }
  });
} else {
  byId("logout").addEventListener("click", () => ask("POST", "/admin/logout").finally(() => location.reload()));
  byId("invite").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const made = await ask("POST", "/admin/invitations", { purpose: byId("purpose").value, max_uses: Number(byId("uses").value), days: Number(byId("days").value) });
      byId("link").textContent = made.link;
      byId("made").hidden = false;
      refreshInvitations();
    } catch (error) {
      complain(error);
    }
  });
  refresh();
  refreshInvitations();
}
