// One step as it is shown: what the agent and the expert would do, what was done, and what came of it.

import { element } from "./made.js";

const NOTHING_HAPPENS = "Nothing happens.";
const ENDS = { won: "The game is won.", lost: "The game ends here, not won." };
export const STANDINGS = { same: "same", differs: "different", unlabelled: "no label" };

const at = (id) => document.getElementById(id);

export function standing(item) {
  if (item.agrees === null) return "unlabelled";
  return item.agrees ? "same" : "differs";
}

// Show a step; the game's outcome where it is the last one.
export function tellStep(item, outcome) {
  const { step } = item;
  const stands = standing(item);
  at("pair").className = `pair ${stands}`;
  at("pair").replaceChildren(
    action("Agent", step.agent_action, step.agent_thought, step.executed_by === "agent", wrote(step)),
    element("p", STANDINGS[stands], "stands"),
    action("Expert", step.expert_action, step.expert_thought, step.executed_by === "expert"),
  );
  at("given").textContent = `to “${step.executed}”`;
  at("answer").textContent = step.response;
  at("answer").className = step.response.trim() === NOTHING_HAPPENS ? "nothing" : "";
  if (outcome !== null) at("answer").append(element("b", ENDS[outcome], outcome));
  at("figures").replaceChildren(
    figure("Executed", `the ${step.executed_by}'s`),
    figure("Agent's latency", milliseconds(step.latency_ms)),
    figure("Expert's latency", step.expert_latency_ms > 0 ? milliseconds(step.expert_latency_ms) : "–"),
    figure("Log-probability", step.logprob === null ? "–" : `${step.logprob.toFixed(2).replace("-", "−")} nats`),
  );
  at("prompt").textContent = step.prompt;
  at("prompt").scrollTop = at("prompt").scrollHeight;
  const many = step.admissible.length;
  at("could").textContent = many === 1 ? "1 command could be carried out" : `${many} commands could be carried out`;
  at("admissible").replaceChildren(...step.admissible.map((command) => element("li", command, chosen(command, step))));
}

// The step in one sentence or two, for those who listen.
export function spoken({ step, agrees }, steps) {
  const expert = step.expert_action === null ? "The expert has no answer." : `Expert: ${step.expert_action}.`;
  const both = agrees === null ? "" : agrees ? "They are the same." : "They differ.";
  return `Step ${step.step + 1} of ${steps}. Agent: ${step.agent_action}. ${expert} ${both} Answer: ${step.response}`;
}

// What the agent wrote, where that is not just its command.
function wrote(step) {
  return step.agent_reply.trim() === step.agent_action.trim() ? "" : step.agent_reply.trim();
}

function action(who, command, thought, executed, raw = "") {
  const made = element("div", "", `act ${who.toLowerCase()}`);
  const head = element("h2", who);
  if (executed) head.append(element("span", "executed", "chip done"));
  made.append(head, command === null ? element("p", "no answer", "nothing") : element("p", command, "command"));
  if (thought) made.append(element("p", thought, "thought"));
  if (raw) made.append(element("p", `wrote: ${raw}`, "raw"));
  return made;
}

// A name and its value, for a list of them.
export function figure(name, value) {
  const made = document.createElement("div");
  made.append(element("dt", name), element("dd", value));
  return made;
}

function chosen(command, step) {
  const by = [command === step.agent_action && "agent", command === step.expert_action && "expert"].filter(Boolean);
  return by.join(" ");
}

const milliseconds = (ms) => (ms >= 1000 ? `${(ms / 1000).toFixed(2)} s` : `${ms.toFixed(ms < 10 ? 1 : 0)} ms`);
