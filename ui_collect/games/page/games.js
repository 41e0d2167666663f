// The games page: a list of games, and one game step by step. The address says which, so that it may be kept or sent.

import { ConnectionLost, Refused, ask } from "./api.js";
import { GameList } from "./game_list.js";
import { GameView } from "./game_view.js";

const TOKEN = /^[A-Za-z0-9_-]{40,}$/;
const GAME = /^([0-9]+-(?:[a-z][a-z0-9_]*-)?(?:bc|dpo)-[0-9]+-[0-9]+)(?:\/([0-9]{1,5}))?$/;
const AGAIN_MS = 3000;

const at = (id) => document.getElementById(id);
const list = new GameList(complain);
const view = new GameView();
let again = 0;
let opening = 0;

// Say what is the matter; null where all is well.
function complain(error) {
  clearTimeout(again);
  if (error instanceof Refused && error.status === 401) return askToken(error.message);
  if (error !== null && !(error instanceof Refused || error instanceof ConnectionLost)) throw error;
  const lost = error instanceof ConnectionLost;
  const line = lost ? "No connection; trying again." : (error?.message ?? "");
  // Said once: what is said again is read out again.
  if (at("problem").textContent !== line) at("problem").textContent = line;
  at("problem").hidden = line === "";
  if (lost) again = setTimeout(show, AGAIN_MS);
}

function place(part) {
  for (const id of ["enter", "list", "game"]) at(id).hidden = id !== part;
  at("back").hidden = part !== "game";
}

function title(text) {
  if (at("title").textContent !== text) at("title").textContent = text;
  document.title = `${text} · Flywheel`;
}

function askToken(line) {
  list.leave();
  view.leave();
  place("enter");
  title("Games");
  at("problem").textContent = line;
  at("problem").hidden = false;
  at("token").focus();
}

async function enter(token) {
  // What is no token at all need not be asked of.
  if (!TOKEN.test(token)) return askToken("This is not what the server printed.");
  try {
    await ask("POST", "enter", { token });
  } catch (error) {
    if (!(error instanceof ConnectionLost)) return askToken(error.message);
    at("problem").textContent = error.message;
    at("problem").hidden = false;
    return;
  }
  at("token").value = "";
  await show();
}

// Show what the address says.
async function show() {
  const told = location.hash.slice(1);
  if (TOKEN.test(told)) {
    // The secret does not stay in the address.
    history.replaceState(null, "", location.pathname + location.search);
    return enter(told);
  }
  const [, id, step] = GAME.exec(told) ?? [];
  if (id === undefined) return showList();
  if (view.id === id) return view.go(Number(step ?? 0));
  await showGame(id, Number(step ?? 0));
}

async function showList() {
  opening += 1;
  const from = view.id;
  view.leave();
  place("list");
  title("Games");
  complain(null);
  await list.enter(from);
}

async function showGame(id, step) {
  const mine = ++opening;
  list.leave();
  view.leave();
  place("game");
  at("game").hidden = true;
  title("Game");
  complain(null);
  try {
    const told = await ask("GET", `games/${id}`);
    if (mine !== opening) return;
    at("game").hidden = false;
    title(told.game.result.task);
    view.enter(told, step);
    at("title").focus({ preventScroll: true });
    scrollTo(0, 0);
  } catch (error) {
    if (mine === opening) complain(error);
  }
}

at("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  void enter(at("token").value.trim().replace(/^.*#/, ""));
});
addEventListener("hashchange", () => void show());
void show();
