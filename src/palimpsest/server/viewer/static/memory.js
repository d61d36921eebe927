// The memory after a step, with what the step did to it, line by line.

import { button, facts, fill, h } from "./dom.js";
import { counted, seconds, short, whole } from "./format.js";
import { nameOf } from "./timeline.js";

const SIGNS = { added: "+", removed: "−", changed: "~", kept: "" };
const MOST_WORDS = 500;

export class MemoryPanel {
  constructor({ diffOf, onCite, onMove, onChunk }) {
    this.diffOf = diffOf;
    this.onCite = onCite;
    this.onChunk = onChunk;
    this.onlyChanges = false;
    this.head = h("div.step-head");
    this.lines = h("div.lines");
    this.toggle = button("Only changes", () => this.flip(), { class: "quiet", "aria-pressed": "false" });
    this.element = h("div.memory", {},
      h("div.row.between", {},
        this.head,
        h("div.row", {}, this.toggle,
          button("‹", () => onMove(-1), { class: "quiet", "aria-label": "Step before" }),
          button("›", () => onMove(1), { class: "quiet", "aria-label": "Step after" }))),
      this.lines);
  }

  flip() {
    this.onlyChanges = !this.onlyChanges;
    this.toggle.setAttribute("aria-pressed", String(this.onlyChanges));
    this.draw();
  }

  async show(data, step, citations) {
    this.data = data;
    this.step = step;
    this.citations = citations;
    if (!step) {
      fill(this.head, h("h2", {}, "Nothing is read yet"));
      fill(this.lines);
      return;
    }
    this.drawHead(data, step);
    if (step.version === null) {
      this.changes = [];
      fill(this.lines, h("p.note", {}, "There is no memory after this step."));
      return;
    }
    const changes = await this.diffOf(step.version, step.before);
    if (this.step !== step) return;
    this.changes = changes;
    this.draw();
  }

  cite(citations) {
    this.citations = citations;
    if (this.changes) this.draw();
  }

  drawHead(data, step) {
    const chunk = step.chunk !== null && button(`characters ${whole(data.chunks[step.chunk][0])}–${whole(data.chunks[step.chunk][1])}`, () => this.onChunk(step.chunk), { class: "link" });
    fill(this.head,
      h("h2", {}, nameOf(step), step.kind === "chunk" && h("small", {}, ` of ${whole(data.chunks.length)}`)),
      facts(
        step.version !== null && `version ${step.version}`,
        `${whole(step.tokens)} tokens`,
        step.skipped ? `skipped: ${step.skipped}` : !step.changed && "unchanged",
        step.turns.length ? `${counted(step.turns.length, "call")}: ${short(step.prompt)} in, ${short(step.completion)} out, ${seconds(step.seconds)}` : null,
        chunk),
      step.guards.map((guard) => h("p.guard", {}, h("b", {}, guard.guard), " ", h("span", { dir: "auto" }, guard.detail))));
  }

  draw() {
    const standing = this.step.version === this.data.memory_version;
    const byText = this.citations?.byText;
    const shown = this.onlyChanges ? this.changes.filter((change) => change.kind !== "kept") : this.changes;
    if (!shown.length) {
      fill(this.lines, h("p.note", {}, this.changes.length ? "No line changed." : "The memory is empty."));
      return;
    }
    fill(this.lines, shown.map((change) => this.line(change, change.kind === "removed" ? null : byText?.get(change.text), standing)));
  }

  line(change, cited, standing) {
    const text = change.kind === "changed" ? wordDiff(change.before, change.text) : change.text || "\u00a0";
    const marks = (cited?.spans || []).map((span) =>
      h("button.cite", { type: "button", title: span.quote, "aria-label": `Source ${span.number}`, data: { start: span.start }, onclick: () => this.onCite(span) }, String(span.number)));
    const unsupported = standing && cited && cited.supported === false && !cited.given;
    return h(`div.line.${change.kind}`, {},
      h("span.sign", { "aria-label": change.kind }, SIGNS[change.kind]),
      h("span.text", { dir: "auto" }, text),
      h("span.marks", {}, marks,
        unsupported && h("span.tag.warn", { title: "No sentence of the source has these words" }, "unsupported"),
        cited?.given && h("span.tag", {}, "noted by hand"),
        !marks.length && !unsupported && cited?.chunk !== null && cited?.chunk !== undefined && !cited.supported && h("button.cite.chunk", { type: "button", title: "The chunk it came with", onclick: () => this.onChunk(cited.chunk) }, `c${cited.chunk + 1}`)));
  }
}

/** The words of a line, those that went and those that came marked. */
function wordDiff(before, after) {
  const old = before.match(/\s+|\S+/g) || [];
  const now = after.match(/\s+|\S+/g) || [];
  if (old.length > MOST_WORDS || now.length > MOST_WORDS) return [h("del", {}, before), h("ins", {}, after)];
  const width = now.length + 1;
  const longest = new Uint16Array((old.length + 1) * width);
  for (let i = old.length - 1; i >= 0; i--) {
    for (let j = now.length - 1; j >= 0; j--) {
      longest[i * width + j] = old[i] === now[j]
        ? longest[(i + 1) * width + j + 1] + 1
        : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    }
  }
  const parts = [];
  const add = (tag, word) => {
    const last = parts.at(-1);
    if (last?.tag === tag) last.text += word;
    else parts.push({ tag, text: word });
  };
  let i = 0;
  let j = 0;
  while (i < old.length || j < now.length) {
    if (i < old.length && j < now.length && old[i] === now[j]) { add("", now[j]); i++; j++; }
    else if (j >= now.length || (i < old.length && longest[(i + 1) * width + j] >= longest[i * width + j + 1])) add("del", old[i++]);
    else add("ins", now[j++]);
  }
  return parts.map((part) => (part.tag ? h(part.tag, {}, part.text) : part.text));
}
