import { JointPlots, drawLatencies } from "./joint_plots.js";

const AGAIN_MS = 1000;
const SECOND = 1000;
const byId = (id) => document.getElementById(id);
const cards = new Map();
let earlier = null;

class Card {
  constructor(robot) {
    this.root = byId("card").content.firstElementChild.cloneNode(true);
    this.part = (name) => this.root.querySelector(`.${name}`);
    this.plots = new JointPlots(this.part("joints"));
    this.pictures = new Map();
    this.latencies = [];
    this.part("name").textContent = `Robot ${robot.number}`;
    this.root.setAttribute("aria-label", `Robot ${robot.number}`);
  }

  show(robot) {
    const [total] = robot.latencies.at(-1) ?? [0];
    this.part("prompt").textContent = robot.prompt || "has not asked yet";
    const policy = robot.policy_id ? ` · ${robot.policy_id}` : "";
    this.part("facts").textContent = `${robot.address} · ${robot.answers} chunks · ${total.toFixed(1)} ms${policy}`;
    this.showCameras(Object.entries(robot.cameras));
    this.latencies = robot.latencies;
    if (robot.answers) this.plots.take(robot);
    this.draw();
  }

  showCameras(cameras) {
    const names = new Set(cameras.map(([name]) => name));
    const same = names.size === this.pictures.size && [...names].every((name) => this.pictures.has(name));
    if (!same || (names.size === 0 && !this.part("cameras").hasChildNodes())) {
      this.pictures = new Map(cameras.map(([name]) => [name, new Image()]));
      const figures = [...this.pictures].map(([name, picture]) => {
        const figure = document.createElement("figure");
        const caption = document.createElement("figcaption");
        picture.alt = `Camera ${name}`;
        caption.textContent = name;
        figure.append(picture, caption);
        return figure;
      });
      if (figures.length === 0) {
        const none = document.createElement("p");
        none.className = "none";
        none.textContent = "no pictures";
        figures.push(none);
      }
      this.part("cameras").replaceChildren(...figures);
    }
    for (const [name, data] of cameras) this.pictures.get(name).src = data;
  }

  draw() {
    this.plots.draw();
    drawLatencies(this.part("latencies"), this.latencies);
  }
}

function showServer(server) {
  byId("policy").textContent = server.policy_id + (server.iteration === null ? "" : ` · ${server.program} iteration ${String(server.iteration).padStart(3, "0")}`);
  byId("error").hidden = server.error === "";
  byId("error").textContent = server.error && `No newer policy: ${server.error}`;
  byId("robots").textContent = `${server.clients} of ${server.max_clients}`;
  byId("latency").textContent = server.answers ? `${server.latency_ms_p50.toFixed(1)} · ${server.latency_ms_p95.toFixed(1)} ms` : "–";
  byId("batch").textContent = server.passes ? `${((server.answers + server.failures) / server.passes).toFixed(1)} · ${server.largest_batch}` : "–";
  byId("answers").textContent = `${server.answers} · ${server.failures}`;
  const now = performance.now();
  if (!earlier || server.answers < earlier.answers) earlier = { at: now, answers: server.answers };
  else if (now - earlier.at > 2 * SECOND) {
    byId("rate").textContent = (((server.answers - earlier.answers) * SECOND) / (now - earlier.at)).toFixed(1);
    earlier = { at: now, answers: server.answers };
  }
}

function show(update) {
  showServer(update.server);
  for (const robot of update.robots) {
    if (!cards.has(robot.number)) {
      cards.set(robot.number, new Card(robot));
      byId("cards").append(cards.get(robot.number).root);
    }
    cards.get(robot.number).show(robot);
  }
  const here = new Set(update.here);
  for (const [number, card] of cards) {
    if (!here.has(number)) {
      card.root.remove();
      cards.delete(number);
    }
  }
  byId("empty").hidden = cards.size > 0;
}

function connect() {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
  socket.addEventListener("open", () => {
    byId("link").textContent = "live";
    byId("link").className = "live";
    socket.send("next");
  });
  socket.addEventListener("message", (event) => {
    show(JSON.parse(event.data));
    // Drawn first: what the page cannot keep up with is never sent.
    requestAnimationFrame(() => socket.readyState === WebSocket.OPEN && socket.send("next"));
  });
  socket.addEventListener("close", () => {
    byId("link").textContent = "no connection; trying again";
    byId("link").className = "";
    for (const card of cards.values()) card.root.remove();
    cards.clear();
    setTimeout(connect, AGAIN_MS);
  });
}

addEventListener("resize", () => cards.forEach((card) => card.draw()));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => cards.forEach((card) => card.draw()));
connect();
