// The playground: drop files, ask, watch the memory being written.

import { button, facts, fill, h, said, toast } from "./dom.js";
import { events, get, post, remove } from "./api.js";
import { counted, short, whole } from "./format.js";
import { useKeys } from "./keys.js";

export async function showAsk({ main, signal, setTrail }) {
  const { playground } = await get("entries", {}, signal);
  if (signal.aborted) return;
  setTrail(["Ask"]);
  if (!playground) {
    fill(main, h("div.empty", {}, h("h1", {}, "No model is configured"), h("p", {}, "Name one, and files can be asked here:"), h("pre", {}, "palimpsest view --model local\npalimpsest view --model NAME --base-url http://127.0.0.1:8000/v1")));
    return;
  }
  new Ask(main, playground, signal);
}

class Ask {
  constructor(main, playground, signal) {
    this.signal = signal;
    this.files = [];
    this.input = h("input", { type: "file", multiple: true, class: "hidden", "aria-label": "Files", onchange: () => this.take(this.input.files) });
    this.drop = h("div.drop", { ondragover: (event) => this.over(event), ondragleave: () => this.drop.classList.remove("over"), ondrop: (event) => this.dropped(event) },
      h("p", {}, "Drop files here, or ", button("choose them", () => this.input.click(), { class: "link" })), this.input);
    this.list = h("ul.files");
    this.question = h("textarea", { rows: "3", placeholder: "Your question", "aria-label": "Question", "data-search": true, dir: "auto", onkeydown: (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && this.ask() });
    this.reader = h("select", { "aria-label": "Reader" }, playground.readers.map((name) => h("option", { value: name, selected: name === "memagent" }, name)));
    this.budget = h("input", { type: "number", min: "1", max: "16384", placeholder: "own", "aria-label": "Budget" });
    this.go = button("Ask", () => this.ask(), { class: "action" });
    this.progress = h("section.progress", { "aria-live": "polite", hidden: true });
    fill(main, h("div.narrow", {}, h("h1", {}, "Ask a file"), h("p.note", {}, "With ", h("span", { dir: "auto" }, playground.model), ". Files stay on the machine of this server, and go to no one but the model."),
      this.drop, this.list, this.question,
      h("div.row.between", {}, h("div.row", {}, h("label", {}, "reader ", this.reader), h("label", {}, "budget ", this.budget)), this.go), this.progress));
    useKeys([["Escape", null, () => {}]]);
  }

  over(event) {
    event.preventDefault();
    this.drop.classList.add("over");
  }

  dropped(event) {
    event.preventDefault();
    this.drop.classList.remove("over");
    this.take(event.dataTransfer.files);
  }

  async take(files) {
    for (const file of files) {
      try {
        const kept = await post("files", file, { name: file.name });
        this.files.push(kept);
      } catch (error) {
        toast(`${file.name}: ${error.message}`);
      }
    }
    this.input.value = "";
    fill(this.list, this.files.map((file, place) => h("li", {}, h("span", { dir: "auto" }, file.name), h("small", {}, ` ${short(file.bytes)} bytes `),
      button("×", () => { this.files.splice(place, 1); this.take([]); }, { class: "quiet", "aria-label": `Leave out ${file.name}` }))));
  }

  async ask() {
    const question = this.question.value.trim();
    if (!this.files.length || !question) {
      toast(this.files.length ? "Ask something." : "Drop a file first.");
      return;
    }
    this.go.disabled = true;
    try {
      const order = { files: this.files.map((file) => file.id), question, reader: this.reader.value, budget: Number(this.budget.value) || null };
      const { id } = await post("asks", order);
      await this.watch(id);
    } catch (error) {
      if (!this.signal.aborted) toast(error.message);
    } finally {
      this.go.disabled = false;
    }
  }

  async watch(id) {
    const bar = h("progress", { max: "1" });
    const told = h("div");
    const memory = said("", "pre.said.growing");
    const answers = h("div.answers");
    const notes = h("div");
    const stop = button("Stop", () => remove(`asks/${id}`), { class: "quiet" });
    this.progress.hidden = false;
    fill(this.progress, h("div.row.between", {}, told, stop), bar, answers, notes, memory);
    const say = (...parts) => fill(told, facts(parts));
    let link = null;
    let chunks = 0;
    for await (const event of events(`asks/${id}/events`, this.signal)) {
      switch (event.kind) {
        case "opening": say(`opening ${event.files.join(", ")}`); break;
        case "cutting": say(`cutting ${short(event.characters)} characters`); break;
        case "started":
          chunks = event.chunks;
          link = h("a", { href: `#/reading/${event.reading}` }, "open the reading");
          bar.max = chunks;
          bar.value = event.done;
          say(`${short(event.tokens)} tokens in ${counted(chunks, "chunk")}`, link);
          break;
        case "chunk":
          bar.value = event.done;
          say(event.reread ? `reread ${event.reread}, chunk ${event.chunk + 1}` : `${whole(event.done)} of ${counted(chunks, "chunk")}${event.skipped ? ", skipped" : ""}`, link);
          memory.textContent = event.memory;
          break;
        case "guard": notes.append(h("p.guard", {}, h("b", {}, event.guard), " ", h("span", { dir: "auto" }, event.detail))); break;
        case "answer": answers.append(h("div.answer-card", {}, h("div.answer", {}, event.budget !== null && h("span.at", {}, `at ${whole(event.budget)}`), said(event.text, "span.answer-text")))); break;
        case "end": say(h(`span.status.${event.status}`, {}, event.status), event.reason && h("span", { dir: "auto" }, event.reason), link); break;
        case "failed": notes.append(h("p.guard", { dir: "auto" }, event.reason, event.hint && ` (${event.hint})`)); break;
        case "stopped": say("stopped; the same question goes on from here", link); break;
      }
    }
    bar.value = bar.max;
    stop.remove();
  }
}
