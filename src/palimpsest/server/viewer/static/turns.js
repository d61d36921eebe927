// The model calls: who was asked what, what it took, what was said.

import { button, fill, h, said, table } from "./dom.js";
import { chunkName, counted, money, seconds, short, whole } from "./format.js";

const SHOWN = 100;

export class TurnsPanel {
  constructor({ turnOf }) {
    this.turnOf = turnOf;
    this.scope = h("select", { "aria-label": "Which calls", onchange: () => this.draw() },
      h("option", { value: "step" }, "of this step"), h("option", { value: "all" }, "of the whole reading"));
    this.role = h("select", { "aria-label": "Role", onchange: () => this.draw() });
    this.list = h("ol.turns");
    this.more = h("div");
    this.element = h("div", {}, h("div.row", {}, h("label", {}, "Calls ", this.scope), h("label", {}, "role ", this.role)), this.list, this.more);
  }

  show(data, step) {
    const roles = [...new Set(data.turns.map((turn) => turn.role))];
    if (this.roles?.join() !== roles.join()) {
      this.roles = roles;
      fill(this.role, h("option", { value: "" }, "any"), roles.map((role) => h("option", { value: role }, role)));
    }
    const same = this.data?.id === data.id && this.step === step;
    this.data = data;
    this.step = step;
    this.shown = same ? this.shown : SHOWN;
    this.draw();
  }

  draw() {
    const all = this.scope.value === "all";
    const numbers = all ? this.data.turns.map((_, number) => number) : this.step?.turns ?? [];
    const wanted = numbers.filter((number) => !this.role.value || this.data.turns[number].role === this.role.value);
    const open = new Map([...this.list.children].map((row) => [row.dataset.turn, row]));
    fill(this.list, wanted.slice(0, this.shown).map((number) => {
      const kept = open.get(`${this.data.id} ${number}`);
      return kept ?? this.row(number);
    }));
    const rest = wanted.length - this.shown;
    fill(this.more,
      rest > 0 && button(`${counted(Math.min(rest, SHOWN), "more call")}`, () => { this.shown += SHOWN; this.draw(); }, { class: "quiet" }),
      !wanted.length && h("p.note", {}, "No call."));
  }

  row(number) {
    const turn = this.data.turns[number];
    const place = [
      turn.reread ? `reread ${turn.reread}` : null,
      turn.chunk !== null ? chunkName(turn.chunk) : null,
      turn.memory !== null ? `saw v${turn.memory}` : null,
      turn.page !== null ? `saw page ${turn.page + 1} (${whole(this.data.pages[turn.page].budget)} tokens)` : null,
      turn.question !== null && this.data.header.questions.length > 1 ? `question ${turn.question + 1}` : null,
    ].filter(Boolean).join(", ");
    const body = h("div.turn-body");
    const details = h("details", {
      ontoggle: async () => {
        if (!details.open || body.childElementCount) return;
        fill(body, h("p.note", {}, "…"));
        fill(body, texts(await this.turnOf(number)));
      },
    },
    h("summary", {},
      h("span.role", {}, turn.role), h("span.turn-place", {}, place),
      h("span.turn-cost", {}, `${short(turn.prompt)} in, ${short(turn.completion)} out, ${seconds(turn.seconds)}`),
      turn.finish !== "stop" && h("span.tag.warn", {}, turn.finish === "length" ? "cut off" : turn.finish)),
    body);
    return h("li", { data: { turn: `${this.data.id} ${number}` } }, details);
  }
}

function texts(told) {
  const prompt = told.messages
    ? told.messages.map((message) => [h("h4", {}, `Prompt (${message.role})`), message.parts.map((part) => (part.type === "text" ? said(part.text, "pre.said") : picture(part.url)))])
    : [h("h4", {}, "Prompt"), h("p.note", {}, `Not to be had to the letter: ${told.why}.`)];
  return [
    prompt,
    told.sampling && h("p.note", {}, `at most ${whole(told.sampling.max_tokens)} tokens, temperature ${told.sampling.temperature}, made again from the record and checked by its hash`),
    told.reasoning && [h("h4", {}, "Thinking"), said(told.reasoning, "pre.said.thinking")],
    h("h4", {}, "Said"), said(told.text || "(nothing)", "pre.said"),
  ];
}

function picture(url) {
  if (!url.startsWith("data:image/")) return h("p.note", {}, "a picture from elsewhere, not loaded");
  return h("img.sent", { src: url, alt: "The page that was shown" });
}

/** What the reading took, and what it was made with. */
export function receiptOf(data) {
  const { receipt, header } = data;
  const columns = ["role", "calls", "in", "cached", "out", "thinking", "time"].map((name, place) => ({ name, number: place > 0 }));
  const row = (name, totals) => [name, whole(totals.calls), whole(totals.usage.prompt), whole(totals.usage.cached), whole(totals.usage.completion), whole(totals.usage.reasoning), seconds(totals.seconds)];
  const rows = [...Object.entries(receipt.by_role).map(([role, totals]) => row(role, totals)), row("all", receipt.totals)];
  const given = [
    ["cost", receipt.cost === null ? "no price known" : `${money(receipt.cost)} (${receipt.price})`],
    ["guards", Object.entries(receipt.guards).map(([name, number]) => `${name} ${number}`).join(", ") || "none"],
    ["reader", header.reader], ["model", header.model], ["tokenizer", header.tokenizer],
    ["begun", header.created],
    ["source", `${header.source_sha256.slice(0, 16)}…, ${whole(header.characters)} characters`],
    header.replay_of && ["replay of", header.replay_of],
    ["prompts", Object.entries(header.prompts).map(([role, id]) => `${role}: ${id}`).join("\n")],
    ["settings", JSON.stringify(header.settings, null, 1)],
  ].filter(Boolean);
  const documents = header.documents;
  return h("div.receipt", {},
    table(columns, rows),
    h("dl.given", {}, given.map(([name, value]) => [h("dt", {}, name), h("dd", { dir: "auto" }, value)])),
    h("details", {}, h("summary", {}, counted(documents.length, "document")), h("ol.documents", {}, documents.slice(0, 500).map((name) => h("li", { dir: "auto" }, name))), documents.length > 500 && h("p.note", {}, `and ${whole(documents.length - 500)} more`)));
}
