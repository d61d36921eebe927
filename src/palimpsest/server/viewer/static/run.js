// An evaluation run: its scores, its curve, and its items, which the server filters, sorts and pages.

import { button, facts, fill, h, said, table, toast } from "./dom.js";
import { get } from "./api.js";
import { legendOf, scorePanel } from "./curve.js";
import { budgetName, counted, lengthName, money, percent, seconds, short, whole } from "./format.js";
import { useKeys } from "./keys.js";

const PAGE = 100;
const WAIT_MS = 200;
const COLUMNS = [
  ["id", "item"], ["category", "kind"], ["length", "length", true], ["seed", "seed", true], ["status", "status"],
  ["score", "score", true], ["tokens", "tokens", true], ["seconds", "time", true], ["cost", "cost", true],
];

export async function showRun({ main, id, query, signal, setTrail }) {
  const run = await get(`runs/${id}`, {}, signal);
  const { entries } = await get("entries", {}, signal);
  if (signal.aborted) return;
  setTrail([run.name]);
  main.className = "wide-main";
  const items = new Items(run, query, signal);
  const scores = h("section.scores", {}, h("p.waiting", {}, "Working out intervals…"));
  fill(main, head(run), scores, items.element);
  items.load();
  useKeys([
    ["j", "next page of items", () => items.turn(1)],
    ["k", "page before", () => items.turn(-1)],
    ["w", "wrong ones only, or all", () => items.flip("wrong")],
    ["f", "failures only, or all", () => items.flip("failed")],
  ]);
  const others = entries.filter((entry) => entry.kind === "run" && entry.id !== id);
  await drawScores(scores, run, others, signal);
}

function head(run) {
  const { config } = run;
  return h("header.reading-head", {},
    h("h1", { dir: "auto" }, `${config.task}, ${config.reader}`),
    facts(h("span", { dir: "auto" }, config.model), counted(run.items, "item"), counted(run.readings, "reading"),
      run.failed ? h("span.warn", {}, `${whole(run.failed)} failed`) : "none failed",
      run.partial ? `${whole(run.partial)} capped` : null, `counts: ${run.headline}`));
}

async function drawScores(place, run, others, signal) {
  const summary = await get(`runs/${run.id}/summary`, {}, signal);
  const state = { against: run.lengths.length > 1 && run.budgets.length === 1 ? "length" : "budget", metric: "", runs: [run.id] };
  const plots = h("div.plots");
  const both = h("div.curve-and-cells", {}, plots, cells(summary));
  const draw = async () => {
    try {
      const { panels } = await get("curves", { run: state.runs, against: state.against, metric: state.metric }, signal);
      both.classList.toggle("one-curve", panels.length === 1);
      fill(plots, legendOf(panels), h("div.panels", {}, panels.map(scorePanel)));
    } catch (error) {
      if (!signal.aborted) toast(error.message);
    }
  };
  const against = choice("Against", ["budget", "length"], state.against, (value) => { state.against = value; draw(); });
  const metric = choice("Score", run.metrics, run.headline, (value) => { state.metric = value; draw(); });
  const beside = others.length ? h("details.beside", {}, h("summary", {}, "Beside other runs"), h("div.row", {}, others.slice(0, 40).map((other) =>
    h("label", {}, h("input", { type: "checkbox", onchange: (event) => {
      state.runs = event.target.checked ? [...state.runs, other.id].slice(0, 8) : state.runs.filter((one) => one !== other.id);
      draw();
    } }), " ", h("span", { dir: "auto" }, other.name))))) : null;
  fill(place, h("div.row", {}, against, metric), beside, both, spending(summary));
  await draw();
}

function choice(label, values, chosen, onchange) {
  return h("label", {}, `${label} `, h("select", { onchange: (event) => onchange(event.target.value) }, values.map((value) => h("option", { value, selected: value === chosen }, value))));
}

function cells(summary) {
  const columns = [{ name: "length" }, { name: "budget", number: true }, ...summary.metrics.map((name) => ({ name, number: true })), { name: "readings", number: true }];
  const rows = [...summary.cells, ...summary.overall].map((cell) => [
    cell.length === null && summary.overall.includes(cell) ? "all" : lengthName(cell.length), budgetName(cell.budget),
    ...summary.metrics.map((name) => score(cell.scores[name])), whole(cell.readings),
  ]);
  return h("details", { open: rows.length <= 12 }, h("summary", {}, "Scores with 95% intervals"), table(columns, rows));
}

function score(interval) {
  if (!interval) return "–";
  return h("span", {}, percent(interval.mean), h("small", {}, ` ${(100 * interval.low).toFixed(0)}–${(100 * interval.high).toFixed(0)}`));
}

function spending(summary) {
  const columns = ["length", "readings", "failed", "in", "out", "calls", "time", "cost"].map((name, place) => ({ name, number: place > 0 }));
  const rows = summary.spending.map((one) => [lengthName(one.length), whole(one.readings), whole(one.failed), short(one.prompt), short(one.completion), short(one.calls), seconds(one.seconds), money(one.cost)]);
  const reasons = Object.entries(summary.spending.at(-1)?.reasons || {});
  return h("details", {}, h("summary", {}, "What it took, and why readings failed"), table(columns, rows),
    reasons.length ? h("ul.reasons", {}, reasons.slice(0, 20).map(([reason, number]) => h("li", {}, `${whole(number)} × `, h("span", { dir: "auto" }, reason.slice(0, 500))))) : null);
}

class Items {
  constructor(run, query, signal) {
    this.run = run;
    this.signal = signal;
    const given = (name, values, other) => (values.includes(query.get(name)) ? query.get(name) : other);
    this.state = {
      show: given("show", ["all", "wrong", "right", "failed", "partial"], "all"),
      budget: given("budget", run.budgets, run.budgets[0]), length: given("length", run.lengths, ""),
      category: given("category", run.categories, ""), q: query.get("q") || "",
      sort: given("sort", COLUMNS.map(([name]) => name), "order"), descending: query.get("descending") === "true", offset: Number(query.get("offset")) || 0,
    };
    this.kinds = run.categories.some(Boolean);
    this.columns = COLUMNS.filter(([name]) => name !== "category" || this.kinds);
    this.body = h("tbody");
    this.head = h("tr");
    this.told = h("span.told");
    this.foot = h("div.row.pages");
    this.element = h("section.items", { "aria-label": "Items" }, h("h2", {}, "Items"), this.filters(), h("div.wide", { tabindex: "0" }, h("table.item-table", {}, h("thead", {}, this.head), this.body)), this.foot);
  }

  filters() {
    const { run, state } = this;
    const pick = (label, name, values, nameOf = (value) => value) => h("label", {}, `${label} `,
      h("select", { data: { filter: name }, onchange: (event) => this.set({ [name]: event.target.value }) },
        values.map((value) => h("option", { value, selected: value === state[name] }, value === "" ? "all" : nameOf(value)))));
    this.search = h("input", { type: "search", placeholder: "Words in question or answers", "aria-label": "Words in question or answers", "data-search": true, value: state.q,
      oninput: () => { clearTimeout(this.timer); this.timer = setTimeout(() => this.set({ q: this.search.value }), WAIT_MS); } });
    this.show = h("div.segments", { role: "group", "aria-label": "Which" }, ["all", "wrong", "right", "failed", "partial"].map((name) => button(name, () => this.set({ show: name }), { data: { show: name } })));
    return h("div.row.filters", {}, this.show,
      run.budgets.length > 1 && pick("budget", "budget", run.budgets, budgetName),
      run.lengths.length > 1 && pick("length", "length", ["", ...run.lengths], lengthName),
      run.categories.length > 1 && pick("kind", "category", ["", ...run.categories]),
      this.search, this.told);
  }

  set(change) {
    Object.assign(this.state, { offset: 0 }, change);
    this.load();
  }

  flip(show) {
    this.set({ show: this.state.show === show ? "all" : show });
  }

  turn(way) {
    const offset = this.state.offset + way * PAGE;
    if (offset >= 0 && offset < (this.matching ?? 0)) this.set({ offset });
  }

  async load() {
    this.asked?.abort();
    const asked = (this.asked = new AbortController());
    this.signal.addEventListener("abort", () => asked.abort(), { once: true });
    this.remember();
    try {
      const found = await get(`runs/${this.run.id}/items`, { ...this.state, limit: PAGE }, asked.signal);
      this.matching = found.matching;
      this.draw(found);
    } catch (error) {
      if (error.name !== "AbortError") toast(error.message);
    }
  }

  /** The address says what is shown, so that it can be kept or sent. */
  remember() {
    const query = new URLSearchParams(Object.entries(this.state).filter(([name, value]) => value && !(name === "show" && value === "all") && !(name === "sort" && value === "order")));
    history.replaceState(null, "", `#/run/${this.run.id}?${query}`);
  }

  draw(found) {
    for (const one of this.show.children) one.setAttribute("aria-pressed", String(one.dataset.show === this.state.show));
    this.told.textContent = `${whole(found.matching)} of ${whole(found.readings)}`;
    fill(this.head, this.columns.map((column) => this.heading(column)));
    fill(this.body, found.rows.map((row) => this.rows(row)));
    if (!found.rows.length) fill(this.body, h("tr", {}, h("td", { colspan: String(this.columns.length) }, "Nothing fits.")));
    const last = found.offset + found.rows.length;
    fill(this.foot, found.matching > PAGE && [
      button("‹ before", () => this.turn(-1), { class: "quiet", disabled: found.offset === 0 }),
      h("span", {}, `${whole(found.offset + 1)}–${whole(last)}`),
      button("after ›", () => this.turn(1), { class: "quiet", disabled: last >= found.matching }),
    ]);
  }

  heading([name, label, isNumber]) {
    const sorted = this.state.sort === name;
    const way = sorted ? (this.state.descending ? "descending" : "ascending") : "none";
    return h("th", { scope: "col", class: isNumber ? "number" : null, "aria-sort": way },
      button([label, sorted ? (this.state.descending ? " ↓" : " ↑") : ""], () => this.set(sorted && this.state.descending ? { sort: "order", descending: false } : { sort: name, descending: sorted }), { class: "sort" }));
  }

  rows(row) {
    const cell = (label, value, isNumber) => h("td", { data: { label }, class: isNumber ? "number" : null }, value);
    const open = button(row.id, () => this.toggle(tr, row), { class: "link", "aria-expanded": "false" });
    const tr = h("tr", { class: `item ${row.status}` },
      cell("item", [open, said(row.question, "span.asks")]), this.kinds && cell("kind", row.category), cell("length", lengthName(row.length), true), cell("seed", String(row.seed), true),
      cell("status", h(`span.status.${row.status}`, {}, row.status)),
      cell("score", h(row.score >= 0.5 ? "span.right" : "span.wrong", {}, percent(row.score)), true),
      cell("tokens", short(row.tokens), true), cell("time", seconds(row.seconds), true), cell("cost", row.cost === null ? h("span.unknown", {}, money(null)) : money(row.cost), true));
    return tr;
  }

  toggle(tr, row) {
    const opener = tr.querySelector("button");
    if (tr.nextElementSibling?.classList.contains("detail")) {
      tr.nextElementSibling.remove();
      opener.setAttribute("aria-expanded", "false");
      return;
    }
    opener.setAttribute("aria-expanded", "true");
    tr.after(h("tr.detail", {}, h("td", { colspan: String(this.columns.length) }, this.detail(row))));
  }

  detail(row) {
    const answers = row.answers.map((answer) => h("tr", {}, h("td.number", {}, budgetName(answer.budget)), h("td.number", {}, percent(answer.scores[this.run.headline] ?? Object.values(answer.scores)[0])), h("td", { dir: "auto" }, answer.prediction || "–")));
    return h("div.item-detail", {},
      said(row.question, "p.question"),
      h("p", {}, h("b", {}, "Accepted: "), row.accepted.length ? row.accepted.map((one, place) => [place ? " | " : "", h("span", { dir: "auto" }, one)]) : "that it cannot be answered"),
      row.reason && h("p.guard", { dir: "auto" }, row.reason),
      h("table.answers-table", {}, h("thead", {}, h("tr", {}, h("th.number", {}, "budget"), h("th.number", {}, "score"), h("th", {}, "answer"))), h("tbody", {}, answers)),
      facts(counted(row.calls, "call"), `${short(row.source_tokens)} tokens of source`, row.memory_tokens !== null && `${whole(row.memory_tokens)} of memory`),
      row.reading ? h("a.action", { href: `#/reading/${row.reading}` }, "Open the reading") : h("p.note", {}, "Its reading was not kept."));
  }
}
