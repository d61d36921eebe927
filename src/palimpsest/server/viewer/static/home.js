// The list of everything that can be shown.

import { button, facts, fill, h } from "./dom.js";
import { get } from "./api.js";
import { counted, cut, moment, short } from "./format.js";

const SHOWN = 100;
const GROUPS = [
  ["run", "Evaluation runs"],
  ["training", "Training runs"],
  ["memory", "Memories"],
  ["reading", "Readings"],
];

export async function showHome({ main, signal }) {
  const { entries, playground } = await get("entries", {}, signal);
  if (signal.aborted) return;
  entries.sort((one, other) => other.changed - one.changed);
  const list = h("div");
  const filter = h("input", {
    type: "search", placeholder: "Filter", "aria-label": "Filter", "data-search": true,
    oninput: () => draw(),
  });
  const shown = new Map(GROUPS.map(([kind]) => [kind, SHOWN]));

  function draw() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (entry) => words.every((word) => textOf(entry).includes(word));
    const matching = entries.filter(fits);
    const groups = GROUPS.map(([kind, title]) => {
      const own = matching.filter((entry) => entry.kind === kind);
      if (!own.length) return null;
      const most = shown.get(kind);
      const rest = own.length - most;
      const more = rest > 0 && button(`${counted(Math.min(rest, SHOWN), "more")}`, () => { shown.set(kind, most + SHOWN); draw(); }, { class: "quiet" });
      return h("section.group", {}, h("h2", {}, title, " ", h("small", {}, String(own.length))), h("ul.cards", {}, own.slice(0, most).map(card)), more);
    });
    fill(list, groups.some(Boolean) ? groups : nothing(entries.length));
  }

  draw();
  fill(main,
    h("div.head", {},
      h("h1", {}, "What was read"),
      h("div.row", {}, entries.length > 5 && filter, playground && h("a.action", { href: "#/ask" }, "Ask a file"))),
    list);
}

function textOf(entry) {
  return [entry.name, entry.kind, entry.status, entry.task, entry.reader, entry.model, ...(entry.questions || [])].join(" ").toLowerCase();
}

function nothing(total) {
  if (total) return h("p.empty", {}, "Nothing fits.");
  return h("div.empty", {},
    h("p", {}, "There is no reading here yet. Ask something, and it appears:"),
    h("pre", {}, 'palimpsest ask FILE "question"'));
}

function card(entry) {
  const place = { run: "run", training: "training" }[entry.kind] || "reading";
  const questions = entry.questions || [];
  const title = questions.length ? cut(questions[0], 160) : entry.name;
  return h("li", {}, h("a.card", { href: `#/${place}/${entry.id}` },
    h("span.title", { dir: "auto" }, title),
    facts(
      questions.length ? h("span", { dir: "auto" }, entry.name) : null,
      entry.status && h(`span.status.${entry.status}`, {}, entry.status),
      entry.task, entry.reader, entry.model && h("span", { dir: "auto" }, entry.model),
      entry.chunks ? `${short(entry.tokens)} tokens in ${counted(entry.chunks, "chunk")}` : null,
      moment(entry.changed))));
}
