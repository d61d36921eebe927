// The source, however long: only what is seen is fetched and drawn.

import { button, fill, h } from "./dom.js";
import { chunkName, counted, whole } from "./format.js";

const BEYOND_PX = 900;
const SETTLE_MS = 50;
const MOST_TEXT = 60000;
const MOST_BLOCKS = 400;
const GUESSED_LINE_PX = 23;

export class SourcePane {
  /** `load` gives the facts, `textOf(start, end)` a piece, `find(q)` where words stand. */
  constructor({ load, textOf, find, onMark }) {
    Object.assign(this, { load, textOf, find, onMark });
    this.title = h("p.source-title", { dir: "auto" });
    this.search = h("input", { type: "search", placeholder: "Search the source", "aria-label": "Search the source", "data-search": true, onkeydown: (event) => event.key === "Enter" && this.seek(event.shiftKey ? -1 : 1) });
    this.hits = h("span.hits");
    this.space = h("div.source-space");
    this.scroll = h("div.source-scroll", { tabindex: "0", role: "document", "aria-label": "Source", onscroll: () => this.scrolled() }, this.space);
    this.element = h("aside.source", { "aria-label": "Source" },
      h("div.source-head", {}, this.title, h("div.row", {}, this.search, this.hits,
        button("↑", () => this.seek(-1), { class: "quiet", "aria-label": "Match before" }),
        button("↓", () => this.seek(1), { class: "quiet", "aria-label": "Next match" }))),
      this.scroll);
    this.texts = new Map();
    this.drawn = new Map();
    this.marks = [];
    this.found = [];
    this.place = -1;
    this.space.addEventListener("click", (event) => this.pointed(event));
    this.space.addEventListener("pointerover", (event) => event.pointerType === "mouse" && this.pointed(event));
    new ResizeObserver(() => this.resized()).observe(this.scroll);
  }

  async open(chunks) {
    this.chunks = chunks;
    const facts = await this.load();
    this.facts = facts;
    if (!facts.at_hand) {
      this.element.classList.add("missing");
      fill(this.title, "The source is not at hand");
      this.search.disabled = true;
      this.space.style.setProperty("height", "auto");
      fill(this.space, h("p.note", {}, facts.why), h("p.note", {}, "A reading itself keeps names and hashes, not the text. Where files were read, put them back, or say where they are: "), h("pre", {}, "palimpsest view READING --source FILE"));
      return;
    }
    this.starts = facts.blocks;
    this.heights = new Float64Array(this.starts.length);
    this.guess();
    this.titleAt(0);
    this.draw();
  }

  /** The passages to mark: [{start, end, number}], in order. */
  mark(spans) {
    this.marks = [...spans].sort((one, other) => one.start - other.start);
    this.redraw();
  }

  redraw() {
    for (const [number, element] of this.drawn) if (this.texts.has(number)) this.write(number, element);
    this.measure();
  }

  guess() {
    const width = Math.max(200, this.scroll.clientWidth - 40);
    const perLine = width / 7.6;
    for (let n = 0; n < this.starts.length; n++) {
      if (this.drawn.has(n) && this.texts.has(n)) continue;
      this.heights[n] = Math.ceil((this.endOf(n) - this.starts[n]) / perLine + 2) * GUESSED_LINE_PX;
    }
    this.place_all();
  }

  place_all() {
    this.tops = new Float64Array(this.starts.length + 1);
    for (let n = 0; n < this.starts.length; n++) this.tops[n + 1] = this.tops[n] + this.heights[n];
    this.space.style.setProperty("height", `${this.tops[this.starts.length]}px`);
    for (const [number, element] of this.drawn) element.style.setProperty("top", `${this.tops[number]}px`);
  }

  endOf(number) {
    return this.starts[number + 1] ?? this.facts.characters;
  }

  blockAt(character) {
    return below(this.starts, character);
  }

  scrolled() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.draw());
  }

  resized() {
    if (!this.starts) return;
    const width = this.scroll.clientWidth;
    if (width === this.width) return;
    this.width = width;
    this.guess();
    this.draw();
  }

  draw() {
    if (!this.starts || !this.scroll.clientHeight) return;
    const top = this.scroll.scrollTop;
    const first = below(this.tops, Math.max(0, top - BEYOND_PX), this.starts.length);
    const last = below(this.tops, top + this.scroll.clientHeight + BEYOND_PX, this.starts.length);
    for (const [number, element] of this.drawn) {
      if (number < first || number > last) {
        element.remove();
        this.drawn.delete(number);
      }
    }
    const missing = [];
    for (let number = first; number <= last; number++) {
      if (!this.drawn.has(number)) {
        const element = h("div.block", { dir: "auto", style: { top: `${this.tops[number]}px` }, data: { block: String(number) } });
        this.drawn.set(number, element);
        this.space.append(element);
        if (this.texts.has(number)) this.write(number, element);
      }
      if (!this.texts.has(number)) missing.push(number);
    }
    this.measure();
    this.titleAt(this.characterAt(top + 4));
    if (missing.length) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.fetch(missing), SETTLE_MS);
    }
  }

  async fetch(numbers) {
    const wanted = numbers.filter((number) => this.drawn.has(number) && !this.texts.has(number));
    while (wanted.length) {
      const first = wanted[0];
      let last = first;
      while (wanted[0] === last || wanted[0] === last + 1) {
        if (this.endOf(wanted[0]) - this.starts[first] > MOST_TEXT) break;
        last = wanted.shift();
      }
      const { text } = await this.textOf(this.starts[first], this.endOf(last));
      const signs = pointsOf(text);
      for (let number = first; number <= last; number++) {
        this.texts.set(number, signs.slice(this.starts[number] - this.starts[first], this.endOf(number) - this.starts[first]));
        const element = this.drawn.get(number);
        if (element) this.write(number, element);
      }
    }
    while (this.texts.size > MOST_BLOCKS) {
      const oldest = [...this.texts.keys()].find((number) => !this.drawn.has(number));
      if (oldest === undefined) break;
      this.texts.delete(oldest);
    }
    this.measure();
    this.settle();
  }

  /** The text of a block with its marks, and where chunks and documents begin. */
  write(number, element) {
    const text = this.texts.get(number);
    const from = this.starts[number];
    const to = this.endOf(number);
    const cuts = new Set([from, to]);
    const inside = (list) => list.filter((one) => one.start < to && one.end > from);
    const marks = inside(this.marks);
    const hit = this.found[this.place] ? inside([this.found[this.place]]) : [];
    for (const one of [...marks, ...hit]) {
      cuts.add(Math.max(from, one.start));
      cuts.add(Math.min(to, one.end));
    }
    const openings = new Map();
    for (let chunk = below(this.chunks.map((one) => one[0]), from); chunk < this.chunks.length && this.chunks[chunk][0] < to; chunk++) {
      if (this.chunks[chunk][0] >= from) openings.set(this.chunks[chunk][0], chunk);
    }
    for (const place of openings.keys()) cuts.add(place);
    const places = [...cuts].sort((one, other) => one - other);
    const parts = [];
    for (let at = 0; at < places.length; at++) {
      const start = places[at];
      if (openings.has(start)) parts.push(h("span.chunk-start", { data: { chunk: String(openings.get(start)) } }, chunkName(openings.get(start))));
      if (at === places.length - 1) break;
      let end = places[at + 1];
      let piece = text.slice(start - from, end - from).join("");
      if (end === to) piece = piece.replace(/\n$/, "");
      const marked = marks.filter((one) => one.start <= start && one.end >= end);
      const sought = hit.some((one) => one.start <= start && one.end >= end);
      if (marked.length) piece = h("mark.passage", { data: { start: String(marked[0].start) }, class: marked[0].start === this.lit ? "passage lit" : "passage" }, piece);
      parts.push(sought ? h("mark.hit", {}, piece) : piece);
    }
    fill(element, parts);
    this.observeHeight = true;
  }

  /** Takes the true heights of what is drawn, and keeps what is seen where it is. */
  measure() {
    const top = this.scroll.scrollTop;
    let above = 0;
    let changed = false;
    for (const [number, element] of this.drawn) {
      if (!this.texts.has(number)) continue;
      const height = element.offsetHeight;
      const difference = height - this.heights[number];
      if (Math.abs(difference) < 0.5) continue;
      if (this.tops[number] + this.heights[number] <= top) above += difference;
      this.heights[number] = height;
      changed = true;
    }
    if (!changed) return;
    this.place_all();
    if (above) this.scroll.scrollTop = top + above;
    this.scrolled();
  }

  /** About which character stands at a height. */
  characterAt(height) {
    const block = below(this.tops, height, this.starts.length);
    const share = Math.min(1, Math.max(0, (height - this.tops[block]) / this.heights[block]));
    return Math.floor(this.starts[block] + share * Math.max(0, this.endOf(block) - this.starts[block] - 1));
  }

  titleAt(character) {
    if (!this.facts?.at_hand) return;
    const documents = this.facts.documents;
    const document = documents[below(documents.map((one) => one[1]), character)];
    const chunk = below(this.chunks.map((one) => one[0]), character);
    fill(this.title, h("b", { title: document[0] }, document[0].split(/[\\/]/).at(-1) || document[0]), ` · ${chunkName(Math.max(0, chunk))} · character ${whole(character)} of ${whole(this.facts.characters)}`);
  }

  /** Pixels of its text that are inside of the window. */
  get seen() {
    const { top, bottom } = this.scroll.getBoundingClientRect();
    return Math.max(0, Math.min(bottom, innerHeight) - Math.max(top, 0));
  }

  /** Brings a place into view; it is aimed at until the text there is drawn. Firmly, the window is
   * scrolled too, where the pane alone cannot: not for who only points, whose pointer would be elsewhere. */
  jump(start, { firmly = false } = {}) {
    if (!this.starts) return;
    this.firmly = firmly;
    this.target = start;
    this.tries = 12;
    const block = this.blockAt(start);
    const share = (start - this.starts[block]) / Math.max(1, this.endOf(block) - this.starts[block]);
    this.scroll.scrollTop = Math.max(0, this.tops[block] + share * this.heights[block] - this.seen / 3);
    this.draw();
    this.settle();
  }

  settle() {
    if (this.target === undefined || this.tries-- <= 0) return;
    const element = this.drawn.get(this.blockAt(this.target));
    const aim = element && (element.querySelector(`[data-start="${this.target}"]`) || element.querySelector(".hit") || this.chunkStart(element));
    if (!aim) {
      if (element && this.texts.has(this.blockAt(this.target))) this.target = undefined;
      return;
    }
    const box = aim.getBoundingClientRect();
    const own = this.scroll.getBoundingClientRect();
    const wrong = box.top - own.top - this.seen / 3;
    const stood = this.scroll.scrollTop;
    if (Math.abs(wrong) > 40) this.scroll.scrollTop += wrong;
    if (this.scroll.scrollTop !== stood) {
      requestAnimationFrame(() => this.settle());
      return;
    }
    this.target = undefined;
    if (this.firmly) aim.scrollIntoView({ block: "nearest" });
  }

  chunkStart(element) {
    const chunk = this.chunks.findIndex((one) => one[0] === this.target);
    return chunk < 0 ? null : element.querySelector(`[data-chunk="${chunk}"]`);
  }

  /** Lights a passage, wherever it is drawn. */
  light(start) {
    this.lit = start;
    for (const mark of this.space.querySelectorAll("mark.passage")) mark.classList.toggle("lit", start !== null && mark.dataset.start === String(start));
  }

  pointed(event) {
    const mark = event.target.closest("mark.passage");
    if (mark) this.onMark(Number(mark.dataset.start), event.type === "click");
  }

  async seek(way) {
    const words = this.search.value.trim();
    if (!words) return;
    if (words !== this.sought) {
      this.sought = words;
      this.hits.textContent = "…";
      this.found = (await this.find(words)).found;
      this.place = way > 0 ? -1 : 0;
    }
    if (!this.found.length) {
      this.hits.textContent = "not found";
      return;
    }
    this.place = (this.place + way + this.found.length) % this.found.length;
    this.hits.textContent = `${this.place + 1} of ${this.found.length === 500 ? "500+" : this.found.length}`;
    this.redraw();
    this.jump(this.found[this.place].start, { firmly: true });
  }
}

/** The last place of a sorted list whose value is not over a number. */
function below(list, number, length = list.length) {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] <= number) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}

/** The server counts characters, a script half-characters of some: a list of whole ones. */
function pointsOf(text) {
  return Array.from(text);
}

export const sourceFacts = (facts) => `${counted(facts.documents.length, "document")}, ${whole(facts.characters)} characters`;
