// The memory drawn as a page, again at every budget; each line on it leads to its source.

import { button, facts, fill, h, s } from "./dom.js";
import { counted, whole } from "./format.js";

const BUDGETS = [4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096];
const WAIT_MS = 70;

export class PagePanel {
  constructor({ pageOf, onLine }) {
    this.pageOf = pageOf;
    this.onLine = onLine;
    this.slider = h("input", { type: "range", min: "0", step: "1", "aria-label": "Budget in visual tokens", oninput: () => this.moved() });
    this.told = h("output.budget");
    this.policy = h("select", { "aria-label": "When the type gets too small", onchange: () => this.draw() },
      h("option", { value: "" }, "as the reading"), h("option", { value: "shrink" }, "shrink all"), h("option", { value: "drop" }, "drop the least important"));
    this.actual = button("Actual size", () => this.size(), { class: "quiet", "aria-pressed": "false" });
    this.marks = h("div.row.budget-marks");
    this.image = h("img", { alt: "" });
    this.boxes = s("svg.boxes", { "aria-hidden": "true" });
    this.frame = h("div.frame", { tabindex: "0", role: "img", "aria-label": "The memory as a page", onkeydown: (event) => this.key(event) }, this.image, this.boxes);
    this.facts = h("div");
    this.line = h("div.page-line", { "aria-live": "polite" });
    this.listen();
    this.element = h("div.page", {},
      h("div.controls", {},
        h("label.slider", {}, h("span", {}, "Budget"), this.slider, this.told),
        this.marks,
        h("div.row", {}, h("label", {}, "Too small? ", this.policy), this.actual)),
      h("div.page-scroll", {}, this.frame), this.facts, this.line);
  }

  listen() {
    const lineAt = (event) => {
      const box = event.target.closest?.("[data-line]");
      return box ? Number(box.dataset.line) : null;
    };
    this.boxes.addEventListener("pointerover", (event) => {
      if (event.pointerType === "mouse" && this.pinned === null) this.light(lineAt(event), false);
    });
    this.boxes.addEventListener("click", (event) => {
      const line = lineAt(event);
      this.pinned = line === this.pinned ? null : line;
      this.light(this.pinned, true);
    });
  }

  async show(data, version, citations) {
    const first = this.data?.id !== data.id;
    const sameVersion = !first && this.version === version;
    this.data = data;
    this.version = version;
    this.citations = citations;
    this.pinned = null;
    if (first) this.setBudgets(data);
    if (version === null || version === undefined) {
      fill(this.facts, h("p.note", {}, "There is no memory to draw after this step."));
      this.frame.hidden = true;
      return;
    }
    if (!sameVersion || this.frame.hidden) await this.draw();
  }

  cite(citations) {
    this.citations = citations;
    this.light(this.lit ?? null, false);
  }

  setBudgets(data) {
    const own = [...new Set(data.pages.map((page) => page.budget))].sort((one, other) => one - other);
    this.budgets = [...new Set([...BUDGETS, ...own])].sort((one, other) => one - other);
    const start = own.at(-1) ?? 256;
    this.slider.max = String(this.budgets.length - 1);
    this.slider.value = String(this.budgets.indexOf(start));
    fill(this.marks, own.length ? [h("span", {}, "read at"), own.map((budget) => button(whole(budget), () => this.choose(budget), { class: "quiet" }))] : null);
    this.tell();
  }

  choose(budget) {
    this.slider.value = String(this.budgets.indexOf(budget));
    this.moved();
  }

  get budget() {
    return this.budgets[Number(this.slider.value)];
  }

  tell() {
    this.told.textContent = `${whole(this.budget)} tokens`;
    this.slider.setAttribute("aria-valuetext", `${this.budget} visual tokens`);
  }

  moved() {
    this.tell();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.draw(), WAIT_MS);
  }

  async draw() {
    if (this.version === null || this.version === undefined) return;
    this.asked?.abort();
    const asked = (this.asked = new AbortController());
    this.element.classList.add("busy");
    try {
      const page = await this.pageOf({ version: this.version, budget: this.budget, policy: this.policy.value }, asked.signal);
      const fresh = h("img", { alt: `The memory on ${page.tokens} visual tokens`, width: String(page.width), height: String(page.height) });
      fresh.src = page.image;
      await fresh.decode().catch(() => {});
      if (asked.signal.aborted) return;
      this.put(page, fresh);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.frame.hidden = true;
      fill(this.facts, h("p.note", {}, error.message));
    } finally {
      if (this.asked === asked) this.element.classList.remove("busy");
    }
  }

  put(page, image) {
    this.page = page;
    this.image.replaceWith(image);
    this.image = image;
    this.frame.hidden = false;
    this.frame.dataset.budget = String(page.budget);
    this.frame.style.setProperty("--ratio", `${page.width} / ${page.height}`);
    this.frame.style.setProperty("--width", `${page.width}px`);
    this.boxes.setAttribute("viewBox", `0 0 ${page.width} ${page.height}`);
    fill(this.boxes, page.boxes.map(([x0, y0, x1, y1, line]) =>
      s("rect", { x: x0, y: y0, width: Math.max(1, x1 - x0), height: Math.max(1, y1 - y0), data: { line: String(line) } })));
    const illegible = page.body_px < page.legible_px;
    fill(this.facts, facts(
      `${page.grid[0]} × ${page.grid[1]} cells of ${page.cell} px: ${counted(page.tokens, "token")}`,
      h(illegible ? "span.warn" : "span", {}, `type ${page.body_px.toFixed(1)} px${illegible ? ", too small to read" : ""}`),
      page.dropped ? `${counted(page.dropped, "block")} left out` : null,
      page.shortened ? `${whole(page.shortened)} shortened` : null));
    this.light(this.pinned, false);
  }

  size() {
    const actual = this.frame.classList.toggle("actual");
    this.actual.setAttribute("aria-pressed", String(actual));
  }

  key(event) {
    const way = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!way || !this.page) return;
    event.preventDefault();
    const lines = [...new Set(this.page.boxes.map((box) => box[4]))].sort((one, other) => one - other);
    const place = lines.indexOf(this.pinned);
    this.pinned = lines[place < 0 ? (way > 0 ? 0 : lines.length - 1) : Math.min(lines.length - 1, Math.max(0, place + way))];
    this.light(this.pinned, true);
  }

  /** Lights the boxes of the line that rests on a place in the source. */
  lightSource(start) {
    const found = this.citations && [...this.citations.byText.entries()].find(([, cited]) => cited.spans?.some((span) => span.start === start));
    const line = found && this.lines().indexOf(found[0]);
    this.light(line === undefined || line < 0 ? null : line, false);
  }

  lines() {
    return this.text?.split("\n") ?? [];
  }

  light(line, jump) {
    this.lit = line;
    for (const box of this.boxes.children) box.classList.toggle("lit", line !== null && box.dataset.line === String(line));
    if (line === null) {
      fill(this.line, h("p.note", {}, "Point at a line, or tap it, to see where it comes from."));
      return;
    }
    const text = this.lines()[line] ?? "";
    const cited = this.citations?.byText?.get(text);
    const spans = cited?.spans || [];
    fill(this.line,
      h("p.line-text", { dir: "auto" }, text),
      spans.map((span) => h("button.quote", { type: "button", dir: "auto", onclick: () => this.onLine(cited, span, true) }, h("b", {}, String(span.number)), " ", span.quote)),
      spans.length ? null : h("p.note", {}, this.unknown(cited)));
    this.onLine(cited ?? null, spans[0] ?? null, jump);
  }

  unknown(cited) {
    if (this.citations === null) return "Its source is being looked for…";
    if (!cited) return "This line is not in the memory that stands, so its source was not looked for.";
    if (cited.label) return "A heading: it names what stands below.";
    return cited.chunk === null || cited.chunk === undefined ? "No source is known." : `It came with chunk ${cited.chunk + 1}; no sentence of the source is at hand.`;
  }
}
