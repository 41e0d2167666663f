import assert from "node:assert/strict";
import { test } from "node:test";
import { Names, parseAction } from "../src/acting/names.ts";
import { completions } from "../src/acting/completion.ts";
import { actionOptions, targetOf } from "../src/annotate/action_options.ts";
import { ActiveTime } from "../src/annotate/active_time.ts";
import { ConnectionLost, RequestRefused, TokenRefused } from "../src/annotate/api.ts";
import { clock, duration } from "../src/annotate/decision_words.ts";
import { Marks } from "../src/annotate/marks.ts";
import type { MarkSaved, PlayDecision, QueueItem } from "../src/annotate/messages.ts";
import { byAi, decisionAt, inTime, neighbour, tapped, worthALook } from "../src/annotate/moments.ts";
import { PlayTime } from "../src/annotate/play_time.ts";
import { nextPlay } from "../src/annotate/queue_page.ts";
import { ShortMemory, keptKeys } from "../src/annotate/stored.ts";
import { AnnotationOutbox, clientKey, type Unsent } from "../src/annotate/unsent.ts";
import { RecordedHome } from "../src/household/recorded_home.ts";
import { smallHome } from "./small_home.ts";

function decision(index: number, more: Partial<PlayDecision> = {}): PlayDecision {
  return {
    index,
    agent: 1,
    role: "ai",
    policy_id: "policy-1",
    sim_step: 30 * index,
    end_step: 30 * index + 30,
    action: "Wait[]",
    response: "Successful execution!",
    percent_complete: 0,
    admissible: ["Wait[]", "Pick[mug_1]", "Navigate[table_1]"],
    uncertainty: null,
    overridden: false,
    worth_a_look: false,
    can_be_marked: true,
    mine: null,
    others: [],
    ...more,
  };
}

// --- what can be chosen ----------------------------------------------------------------------------------------------

const ADMISSIBLE = [
  "Navigate[table_1]",
  "Navigate[kitchen_1]",
  "Navigate[mug_1]",
  "Explore[bedroom_1]",
  "Pick[mug_1]",
  "Place[book_1, on, table_1, None, None]",
  "Place[book_1, on, floor_kitchen_1, next_to, mug_1]",
  "Open[cupboard_1]",
  "Frobnicate[mug_1]",
  "Wait[]",
  "Done[]",
];

test("what can be chosen is what was admissible, but not what was taken, in an order people look in", () => {
  const home = new RecordedHome(smallHome());
  const options = actionOptions(ADMISSIBLE, "Wait[]", new Names(smallHome()), home);
  assert.deepEqual(new Set(options.map(({ value }) => value)), new Set(ADMISSIBLE.filter((action) => action !== "Wait[]")));
  assert.deepEqual([options[0]!.label, options.at(-1)!.value], ["Pick up the mug", "Frobnicate[mug_1]"]);
  assert.equal(options.find(({ value }) => value === "Navigate[table_1]")!.hint, "kitchen");
  for (const { value } of options) {
    const { tool, args } = parseAction(value);
    assert.equal(`${tool}[${args.join(", ")}]`, value, "it can be sent in parts");
  }
});

test("an action is found by its words, whichever one begins with", () => {
  const options = actionOptions(ADMISSIBLE, "Wait[]", new Names(smallHome()), new RecordedHome(smallHome()));
  const best = (typed: string): string | undefined => completions(options, typed)[0]?.value;
  assert.equal(best("pick mug"), "Pick[mug_1]");
  assert.equal(best("mug pick"), "Pick[mug_1]");
  assert.equal(best("walk kit"), "Navigate[kitchen_1]");
  assert.equal(best("navigate table"), "Navigate[table_1]");
  assert.equal(best("floor next"), "Place[book_1, on, floor_kitchen_1, next_to, mug_1]");
  assert.equal(best("say"), "Done[]");
  assert.equal(best("fridge"), undefined);
});

test("what an action is about can be shown", () => {
  const home = new RecordedHome(smallHome());
  assert.deepEqual(targetOf("Pick[book_2]", home), { kind: "object", index: 2 });
  assert.deepEqual(targetOf("Place[book_1, on, table_1, next_to, mug_1]", home), { kind: "furniture", index: 0 });
  assert.deepEqual(targetOf("Place[book_1, on, floor_bedroom_1, None, None]", home), { kind: "floor", room: 1 });
  assert.deepEqual(targetOf("Explore[kitchen_1]", home), { kind: "floor", room: 0 });
  assert.equal(targetOf("Done[]", home), null);
});

// --- moments ---------------------------------------------------------------------------------------------------------

test("a moment belongs to what the AI is doing then, and one steps from one of its decisions to the next", () => {
  const person = decision(1, { role: "human", agent: 0 });
  const ordered = inTime([decision(3, { worth_a_look: true }), decision(0), person, decision(2)]);
  assert.deepEqual(ordered.map(({ index }) => index), [0, 1, 2, 3]);
  assert.equal(decisionAt(ordered, 0)!.index, 0);
  assert.equal(decisionAt(ordered, 59)!.index, 0, "the person's is not the AI's");
  assert.equal(decisionAt(ordered, 60)!.index, 2);
  assert.equal(decisionAt(ordered, 1e6)!.index, 3);
  assert.equal(neighbour(ordered, ordered[0]!, 1, byAi)!.index, 2);
  assert.equal(neighbour(ordered, ordered[2]!, -1, byAi)!.index, 0);
  assert.equal(neighbour(ordered, ordered[0]!, 1, worthALook)!.index, 3);
  assert.equal(neighbour(ordered, ordered[3]!, 1, byAi), null);
  assert.equal(neighbour(ordered, null, -1, byAi), null);
});

test("a finger between two blocks means the remarkable one, and nothing where none is near", () => {
  const ordered = [decision(0, { end_step: 10 }), decision(1, { end_step: 40 }), decision(9)];
  const never = (): boolean => false;
  assert.equal(tapped(ordered, 12, 20, never)!.index, 0);
  assert.equal(tapped(ordered, 12, 20, ({ index }) => index === 1)!.index, 1);
  assert.equal(tapped(ordered, 150, 20, never), null);
});

test("times are short to read", () => {
  assert.deepEqual([clock(0), clock(65.9), clock(-1)], ["0:00", "1:05", "0:00"]);
  assert.deepEqual([duration(40.2), duration(90), duration(3 * 3600 + 300)], ["40 s", "2 min", "3 h 05 min"]);
});

// --- time ------------------------------------------------------------------------------------------------------------

test("only time in which somebody is there counts", () => {
  const active = new ActiveTime(true, 0);
  assert.equal(active.total(5000), 0, "nobody has touched anything yet");
  active.input(10_000);
  assert.equal(active.total(30_000), 20);
  assert.equal(active.total(200_000), 60, "a minute after the last touch nobody is there");
  active.input(300_000);
  active.show(false, 310_000);
  active.input(320_000);
  assert.equal(active.total(330_000), 70, "a hidden page is not looked at");
  active.show(true, 340_000);
  assert.equal(active.total(345_000), 75);
});

test("every second of a play is counted with one mark, also over a reload", () => {
  const keeper = new ShortMemory();
  const active = new ActiveTime(true, 0);
  active.input(0);
  const first = new PlayTime(keeper, "ann", "p", active, 0);
  assert.equal(first.count(10_000), 10);
  assert.equal(first.report(12_000), 12, "signs of life have a count of their own");
  assert.equal(first.report(13_000), 1);
  first.keep(15_000);
  const again = new ActiveTime(true, 0);
  again.input(0);
  const second = new PlayTime(keeper, "ann", "p", again, 1000);
  assert.equal(second.count(3000), 7);
  assert.equal(second.count(4000), 1);
  assert.equal(new PlayTime(keeper, "ann", "p", again, 4000).count(4000), 0);
});

// --- what is said ----------------------------------------------------------------------------------------------------

class Server {
  up = true;
  refusing = false;
  readonly got: Unsent["body"][] = [];

  store = async (_path: string, body: object): Promise<Partial<MarkSaved>> => {
    if (!this.up) throw new ConnectionLost();
    if (this.refusing) throw new RequestRefused(422, "This was not possible then.");
    this.got.push(body as Unsent["body"]);
    return {};
  };
}

function outboxOf(keeper: ShortMemory, server: Server, annotator = "ann") {
  const said: string[] = [];
  const outbox = new AnnotationOutbox(keeper, annotator, server.store, {
    stored: (item) => said.push(`stored ${item.body.key}`),
    refused: (item, message) => said.push(`refused ${item.body.key}: ${message}`),
    tokenRefused: () => said.push("token"),
    changed: (waiting, retryAt) => said.push(`${waiting}${retryAt === null ? "" : " lost"}`),
  });
  return { outbox, said };
}

const finished = (key: string): Unsent => ({ path: "iteration/finished", body: { key } });

test("what could not be sent is sent in order after a reload, with the keys it had", async () => {
  const keeper = new ShortMemory();
  const server = new Server();
  server.up = false;
  const first = outboxOf(keeper, server);
  for (const key of ["a", "b", "c"]) await first.outbox.add(finished(key));
  first.outbox.stop();
  assert.equal(first.said.at(-1), "3 lost");
  const stranger = outboxOf(keeper, server, "ben");
  assert.equal(stranger.outbox.waiting.length, 0, "another annotator's clicks are not mine");
  server.up = true;
  const second = outboxOf(keeper, server);
  assert.equal(second.outbox.waiting.length, 3);
  await second.outbox.flush();
  assert.deepEqual(server.got.map(({ key }) => key), ["a", "b", "c"]);
  assert.equal(keptKeys(keeper, "").length, 0);
  assert.equal(second.said.at(-1), "stored c");
});

test("two windows do not lose each other's clicks", async () => {
  const keeper = new ShortMemory();
  const server = new Server();
  server.up = false;
  const [one, two] = [outboxOf(keeper, server), outboxOf(keeper, server)];
  await one.outbox.add(finished("a"));
  await two.outbox.add(finished("b"));
  one.outbox.stop();
  two.outbox.stop();
  assert.deepEqual(outboxOf(keeper, server).outbox.waiting.map(({ body }) => body.key).sort(), ["a", "b"]);
});

test("what the server refuses is not sent again, and what follows is", async () => {
  const server = new Server();
  const { outbox, said } = outboxOf(new ShortMemory(), server);
  server.refusing = true;
  await outbox.add(finished("a"));
  server.refusing = false;
  await outbox.add(finished("b"));
  assert.ok(said.includes("refused a: This was not possible then."));
  assert.deepEqual(server.got.map(({ key }) => key), ["b"]);
});

test("without a good token nothing more is sent, and nothing is lost", async () => {
  const keeper = new ShortMemory();
  const outbox = new AnnotationOutbox(keeper, "ann", () => Promise.reject(new TokenRefused()), {
    stored: () => assert.fail(),
    refused: () => assert.fail(),
    tokenRefused: () => undefined,
    changed: () => undefined,
  });
  await outbox.add(finished("a"));
  await outbox.flush();
  assert.equal(outboxOf(keeper, new Server()).outbox.waiting.length, 1);
});

test("keys are long enough, and no two alike", () => {
  const keys = new Set(Array.from({ length: 500 }, clientKey));
  assert.equal(keys.size, 500);
  for (const key of keys) assert.match(key, /^[0-9a-f]{32}$/);
});

function marksOf(decisions: PlayDecision[], keeper = new ShortMemory(), waiting: Unsent[] = []) {
  const posted: Unsent[] = [];
  const marks = new Marks("p", "ann", decisions, waiting, keeper, () => 3, (item) => posted.push(item));
  const last = () => posted.at(-1)!.body as Extract<Unsent, { path: "labels" }>["body"];
  return { marks, posted, last };
}

test("a mark is said in parts and taken back step by step", () => {
  const { marks, posted, last } = marksOf([decision(0), decision(1)]);
  marks.mark(0, "Place[book_1, on, table_1, None, None]", "it is there");
  assert.deepEqual(
    [last().verdict, last().tool, last().args, last().reason, last().seconds],
    ["error", "Place", ["book_1", "on", "table_1", "None", "None"], "it is there", 3],
  );
  marks.mark(0, "Pick[mug_1]", "better");
  marks.mark(1, "Wait[]", "");
  assert.equal(marks.errors, 2);
  assert.equal(marks.undo(), 1);
  assert.deepEqual([last().verdict, last().tool, last().args], ["withdrawn", "", []]);
  assert.equal(marks.undo(), 0);
  assert.deepEqual([last().verdict, last().tool, last().reason], ["error", "Place", "it is there"]);
  assert.equal(marks.undo(), 0);
  assert.equal(marks.undo(), null);
  assert.equal(marks.errors, 0);
  assert.equal(new Set(posted.map(({ body }) => body.key)).size, 6);
  marks.withdraw(0);
  assert.equal(posted.length, 6, "what is not marked cannot be withdrawn");
});

test("what is on its way stands before what the server says, also after a reload; undo works on", () => {
  const keeper = new ShortMemory();
  const before = marksOf([decision(0)], keeper);
  before.marks.mark(0, "Pick[mug_1]", "");
  const waiting = before.posted;
  const after = marksOf([decision(0)], keeper, waiting);
  assert.equal(after.marks.of(0)!.corrected, "Pick[mug_1]");
  after.marks.stored({ decision: 0, mine: null, others: [] }, waiting);
  assert.equal(after.marks.errors, 1, "an older answer does not undo a later click");
  after.marks.stored({ decision: 0, mine: null, others: [] }, []);
  assert.equal(after.marks.errors, 0);
  assert.equal(after.marks.undo(), 0);
});

// --- the queue -------------------------------------------------------------------------------------------------------

test("one goes on with what one has begun, then with what nobody has, last with what others have", () => {
  const item = (play: string, state: QueueItem["state"], mine = false): QueueItem => ({
    play,
    episode_id: "e",
    instruction: "",
    success: false,
    percent_complete: 0,
    value: 0,
    reasons: [],
    look_at: [],
    state,
    by: null,
    mine,
    my_review: null,
    reviews: 0,
    corrections: 0,
  });
  const items = [item("a", "reviewed_by_me"), item("b", "taken"), item("c", "reviewed"), item("d", "open"), item("e", "open", true)];
  const order: string[] = [];
  let left = items;
  for (let next = nextPlay(left); next !== null; next = nextPlay(left)) {
    order.push(next.play);
    left = left.filter((one) => one !== next);
  }
  assert.deepEqual(order, ["e", "d", "c", "b"]);
  assert.equal(nextPlay(items, "e")!.play, "d");
});
