// One reading: answers, timeline, memory, page, calls, receipt and source, which speak to each other.

import { button, facts, fill, h, said, toast } from "./dom.js";
import { get, getChanged } from "./api.js";
import { counted, money, short, whole } from "./format.js";
import { useKeys } from "./keys.js";
import { MemoryPanel } from "./memory.js";
import { PagePanel } from "./page.js";
import { SourcePane } from "./source.js";
import { Timeline } from "./timeline.js";
import { TurnsPanel, receiptOf } from "./turns.js";

const POLL_MS = 1500;
const CITING_MS = 400;
const MOST_QUESTION = 400;
const NARROW = "(max-width: 900px)";
const TABS = [["memory", "Memory", "m"], ["page", "Page", "p"], ["turns", "Calls", "t"], ["receipt", "Receipt", "r"], ["source", "Source", "s"]];

export async function showReading(context) {
  const view = new ReadingView(context);
  await view.start();
}

class ReadingView {
  constructor({ main, id, query, signal, setTrail }) {
    Object.assign(this, { main, id, query, signal, setTrail });
    this.path = `readings/${id}`;
    this.citations = null;
    this.diffs = new Map();
    this.following = true;
    this.timeline = new Timeline((number) => this.select(number));
    this.memory = new MemoryPanel({
      diffOf: (version, before) => this.diffOf(version, before),
      onCite: (span) => this.cite(span),
      onMove: (way) => this.move(way),
      onChunk: (chunk) => this.toChunk(chunk),
    });
    this.page = new PagePanel({
      pageOf: (query, abort) => get(`${this.path}/page`, query, abort),
      onLine: (_, span, jump) => this.lightSource(span, jump),
    });
    this.turns = new TurnsPanel({ turnOf: (number) => get(`${this.path}/turns/${number}`) });
    this.source = new SourcePane({
      load: () => get(`${this.path}/source`, {}, this.signal),
      textOf: (start, end) => get(`${this.path}/source/text`, { start, end }, this.signal),
      find: (q) => get(`${this.path}/source/search`, { q }, this.signal),
      onMark: (start) => this.lightMark(start),
    });
  }

  async start() {
    const { data, tag } = await getChanged(this.path, null, this.signal);
    this.tag = tag;
    this.frame();
    this.take(data);
    this.select(this.startStep(), { quiet: true });
    useKeys([
      ["j", "next step", () => this.move(1)],
      ["k", "step before", () => this.move(-1)],
      ["g", "first step", () => this.select(0)],
      ["G", "last step", () => this.select(this.data.steps.length - 1)],
      ...TABS.map(([name, label, key]) => [key, label.toLowerCase(), () => this.tab(name)]),
      ["Escape", null, () => this.clear()],
    ]);
    this.source.open(data.chunks).catch((error) => this.signal.aborted || toast(error.message));
    this.lookForCitations();
    this.poll();
  }

  startStep() {
    const asked = Number(this.query.get("step"));
    const steps = this.data.steps;
    return this.query.has("step") && steps[asked] ? asked : steps.length - 1;
  }

  frame() {
    this.head = h("header.reading-head");
    this.answers = h("section.answers", { "aria-label": "Answers" });
    this.receipt = h("div");
    this.panels = { memory: this.memory.element, page: this.page.element, turns: this.turns.element, receipt: this.receipt };
    for (const [name, panel] of Object.entries(this.panels)) Object.assign(panel, { id: `panel-${name}`, hidden: true });
    this.tabs = h("div.tabs", { role: "tablist" }, TABS.map(([name, label]) =>
      button(label, () => this.tab(name), { role: "tab", class: `tab tab-${name}`, data: { tab: name }, "aria-selected": "false", "aria-controls": `panel-${name}` })));
    this.split = h("div.split", {}, h("div.panel", {}, this.tabs, h("div.panel-body", {}, Object.values(this.panels))), this.source.element);
    this.main.className = "wide-main";
    fill(this.main, this.head, this.answers, this.timeline.element, this.split);
    this.tab(this.query.get("tab") || "memory");
  }

  take(data) {
    this.data = data;
    this.setTrail([data.name]);
    this.drawHead();
    this.drawAnswers();
    this.timeline.update(data);
    fill(this.receipt, receiptOf(data));
  }

  drawHead() {
    const { data } = this;
    const { header, receipt } = data;
    const done = new Set(data.steps.filter((step) => step.kind === "chunk" && !step.reread).map((step) => step.chunk)).size;
    const status = data.status ?? (done < data.chunks.length ? `${whole(done)} of ${counted(data.chunks.length, "chunk")} read` : "answering");
    fill(this.head,
      header.questions.map((question) => h("h1.question", { dir: "auto" }, question.length > MOST_QUESTION ? longText(question) : question)),
      facts(
        h(`span.status.${data.status ?? "unfinished"}`, {}, status),
        header.reader, h("span", { dir: "auto" }, header.model),
        `${short(data.tokens)} tokens in ${counted(data.chunks.length, "chunk")}`,
        counted(receipt.totals.calls, "call"),
        `${short(receipt.totals.usage.prompt)} in, ${short(receipt.totals.usage.completion)} out`,
        receipt.cost !== null && money(receipt.cost)),
      data.end?.reason && h("p.guard", { dir: "auto" }, data.end.reason, data.end.hint && ` (${data.end.hint})`));
  }

  drawAnswers() {
    const { answers } = this.data;
    const groups = new Map();
    for (const answer of answers) {
      if (!groups.has(answer.asked)) groups.set(answer.asked, []);
      groups.get(answer.asked).push(answer);
    }
    const several = groups.size > 1 || this.data.header.questions[0] !== answers[0]?.asked;
    fill(this.answers, [...groups].map(([asked, own]) =>
      h("div.answer-card", {}, several && h("p.asked", { dir: "auto" }, asked), own.map((answer) => this.answer(answer)))));
  }

  answer(answer) {
    const cited = this.citations?.answers?.find((one) => one.question === answer.question && one.budget === answer.budget);
    return h("div.answer", {},
      answer.budget !== null && h("span.at", { title: "Budget of the memory when it was read" }, `at ${whole(answer.budget)}`),
      said(answer.text || "(nothing)", "span.answer-text"),
      h("span.marks", {},
        (cited?.spans || []).map((span) => h("button.cite", { type: "button", title: span.quote, "aria-label": `Source ${span.number}`, onclick: () => this.cite(span) }, String(span.number))),
        cited && !cited.supported && h("span.tag.warn", { title: "Neither the memory nor the source has these words" }, "unsupported"),
        cited?.elsewhere && h("span.tag", { title: "No line of the memory has it; this is where the source does" }, "from elsewhere"),
        !answer.boxed && h("span.tag", { title: "There was no \\boxed{}: the last line stands in" }, "not boxed")));
  }

  tab(name) {
    const chosen = TABS.some(([one]) => one === name) ? name : "memory";
    this.current = chosen;
    this.split.dataset.tab = chosen;
    for (const one of this.tabs.children) one.setAttribute("aria-selected", String(one.dataset.tab === chosen));
    const panel = chosen === "source" ? (this.lastPanel ?? "memory") : chosen;
    for (const [one, element] of Object.entries(this.panels)) element.hidden = one !== panel;
    this.lastPanel = panel;
    if (chosen === "source") this.source.resized();
    if (this.data) this.show();
  }

  select(number, { quiet = false } = {}) {
    const { steps } = this.data;
    this.number = Math.max(0, Math.min(steps.length - 1, number));
    this.step = steps[this.number] ?? null;
    this.timeline.select(this.number);
    this.following = this.number === steps.length - 1;
    if (!quiet && this.step?.chunk !== null && this.step?.chunk !== undefined) this.source.jump(this.data.chunks[this.step.chunk][0]);
    this.show();
  }

  move(way) {
    this.select((this.number ?? 0) + way);
  }

  /** Draws the panel that is seen for the step that is selected. */
  show() {
    const failed = (error) => error.name === "AbortError" || this.signal.aborted || toast(error.message);
    if (this.lastPanel === "memory") this.memory.show(this.data, this.step, this.citations).catch(failed);
    if (this.lastPanel === "turns") this.turns.show(this.data, this.step);
    if (this.lastPanel === "page") this.showPage().catch(failed);
  }

  async showPage() {
    const version = this.step?.version ?? null;
    if (version !== null) {
      const changes = await this.diffOf(version, this.step.before);
      this.page.text = changes.filter((change) => change.kind !== "removed").map((change) => change.text).join("\n");
    }
    await this.page.show(this.data, version, this.citations);
  }

  async diffOf(version, before) {
    const key = `${version} ${before}`;
    if (!this.diffs.has(key)) {
      const { changes } = await get(`${this.path}/diff`, { version, against: before === version ? null : before }, this.signal);
      if (before === version) for (const change of changes) change.kind = "kept";
      this.diffs.set(key, changes);
    }
    return this.diffs.get(key);
  }

  /** Where the source is a tab of its own, that tab is opened. */
  showSource() {
    if (!matchMedia(NARROW).matches) return;
    this.tab("source");
    this.split.scrollIntoView();
  }

  cite(span) {
    this.showSource();
    this.source.light(span.start);
    this.source.jump(span.start, { firmly: true });
  }

  toChunk(chunk) {
    this.showSource();
    this.source.jump(this.data.chunks[chunk][0], { firmly: true });
  }

  lightSource(span, jump) {
    this.source.light(span?.start ?? null);
    clearTimeout(this.jumping);
    if (!span) return;
    const narrow = matchMedia(NARROW).matches;
    if (jump && !narrow) this.source.jump(span.start);
    else if (!narrow) this.jumping = setTimeout(() => this.source.jump(span.start), 180);
  }

  lightMark(start) {
    this.source.light(start);
    if (this.lastPanel === "page") this.page.lightSource(start);
  }

  clear() {
    this.source.light(null);
    this.page.pinned = null;
    if (this.lastPanel === "page") this.page.light(null, false);
  }

  async lookForCitations() {
    const asked = this.tag;
    if (this.data.status === null) return;
    while (!this.signal.aborted) {
      const told = await get(`${this.path}/citations`, {}, this.signal).catch((error) => ({ state: "failed", reason: error.message }));
      if (this.signal.aborted || asked !== this.tag) return;
      if (told.state !== "working") {
        this.takeCitations(told);
        return;
      }
      await pause(CITING_MS);
    }
  }

  takeCitations(told) {
    this.citations = numbered(told, this.data);
    this.source.mark(this.citations.spans);
    this.drawAnswers();
    const standing = this.data.memory_version;
    this.citations.byText = new Map();
    const byLine = new Map(this.citations.lines.map((line) => [line.line, line]));
    if (standing === null || !byLine.size) return;
    const before = this.data.steps.findLast((step) => step.version === standing)?.before ?? null;
    this.diffOf(standing, before).then((changes) => {
      const lines = changes.filter((change) => change.kind !== "removed");
      lines.forEach((change, number) => byLine.has(number) && this.citations.byText.set(change.text, byLine.get(number)));
      this.memory.cite(this.citations);
      this.page.cite(this.citations);
    });
  }

  async poll() {
    while (!this.signal.aborted && this.data.status === null) {
      await pause(POLL_MS);
      if (this.signal.aborted) return;
      if (document.hidden) continue;
      const { data, tag } = await getChanged(this.path, this.tag, this.signal).catch(() => ({ data: null, tag: this.tag }));
      if (!data || this.signal.aborted) continue;
      this.tag = tag;
      const { following } = this;
      this.take(data);
      this.select(following ? data.steps.length - 1 : this.number, { quiet: true });
      this.source.chunks = data.chunks;
      if (data.status !== null) this.lookForCitations();
    }
  }
}

function longText(text) {
  return h("details", {}, h("summary", {}, `${text.slice(0, MOST_QUESTION)}…`), h("span", {}, text));
}

/** Each passage has a number, in the order of the source, the same wherever it is cited. */
function numbered(told, data) {
  const lines = told.lines || [];
  const answers = told.answers || [];
  const all = [...lines, ...answers].flatMap((one) => one.spans || []);
  const places = [...new Map(all.map((span) => [span.start, span])).values()].sort((one, other) => one.start - other.start);
  const numbers = new Map(places.map((span, place) => [span.start, place + 1]));
  for (const span of all) span.number = numbers.get(span.start);
  if (told.state === "failed") toast(`citations: ${told.reason}`);
  return { lines, answers, spans: places, byText: new Map(), source: told.source, id: data.id };
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
