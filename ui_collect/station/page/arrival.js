// How somebody comes in, by the invitation in the address and a name; and how the page tells them things.

import { ConnectionLost, Refused, ask } from "./api.js";

const TOAST_MS = 6000;
const AGAIN_MS = 3000;

const UNINVITED = "Open the invitation link that the server printed.";

export const at = (id) => document.getElementById(id);

export function toast(text, kind = "") {
  const line = document.createElement("p");
  line.className = `toast ${kind}`;
  line.textContent = text;
  at("toasts").append(line);
  setTimeout(() => line.remove(), TOAST_MS);
}

// Let whoever is known begin, and ask everybody else who they are.
export async function arrive(begin) {
  try {
    const me = await ask("GET", "me");
    if (me === null) return askWho(UNINVITED);
    at("join")?.remove();
    at("desk").hidden = false;
    await begin(me);
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return askWho(UNINVITED);
    if (!(error instanceof ConnectionLost)) throw error;
    toast("No connection; trying again.", "bad");
    setTimeout(() => arrive(begin), AGAIN_MS);
  }
}

// Ask who it is, by the invitation in the address.
export function askWho(problem) {
  const invitation = location.hash.slice(1);
  const invited = /^[A-Za-z0-9_-]{20,}$/.test(invitation);
  if (at("join") === null) return location.reload();
  at("desk")?.remove();
  at("join").hidden = false;
  at("join-problem").textContent = invited ? "" : problem;
  at("name").disabled = !invited;
  at("name").focus();
  at("join-form").querySelector("button").disabled = !invited;
  at("join-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await ask("POST", "join", { token: invitation, name: at("name").value.trim() });
    } catch (error) {
      at("join-problem").textContent = error.message;
      return;
    }
    history.replaceState(null, "", location.pathname);
    location.reload();
  });
}
