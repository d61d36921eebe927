// The reading as a timeline: a column for each chunk, as high as the memory is long; rereads below
// the scan that they belong to.

import { fill, h } from "./dom.js";
import { chunkName, counted, whole } from "./format.js";

export class Timeline {
  constructor(onSelect) {
    this.element = h("section.timeline", { "aria-label": "Timeline" });
    this.element.addEventListener("click", (event) => {
      const cell = event.target.closest("[data-step]");
      if (cell) onSelect(Number(cell.dataset.step));
    });
  }

  update(data) {
    this.cells = new Map();
    this.most = Math.max(1, ...data.memories.map((one) => one.tokens));
    const byScan = new Map(data.scans.map((scan) => [scan.number, []]));
    data.steps.forEach((step, number) => byScan.get(step.reread)?.push({ ...step, number }));
    const tree = (parent) => {
      const scans = data.scans.filter((scan) => scan.parent === parent);
      return scans.length ? h("ul.scans", {}, scans.map((scan) => h("li", {}, this.scan(data, scan, byScan.get(scan.number)), tree(scan.number)))) : null;
    };
    fill(this.element, tree(null), legend(data));
  }

  scan(data, scan, steps) {
    const chunks = new Array(data.chunks.length).fill(null);
    const others = [];
    for (const step of steps) {
      const usual = step.kind === "chunk" || step.kind === "under way";
      if (usual && step.chunk !== null && !(chunks[step.chunk] && step.kind === "under way")) chunks[step.chunk] = step;
      else if (!usual) others.push(step);
    }
    const strip = h("div.strip", { class: chunks.length > 60 ? "strip many" : "strip" }, chunks.map((step, chunk) => this.cell(step, chunk)));
    return [this.title(data, scan), strip, others.length ? h("div.others", {}, others.map((step) => this.other(step))) : null];
  }

  title(data, scan) {
    if (!scan.number) return null;
    const answer = scan.answer === null ? "under way" : scan.answer || "not found";
    return h("p.scan-title", {}, h("b", {}, `Reread ${scan.number}`), " ", h("span", { dir: "auto" }, scan.question), h("span.answer-to", { dir: "auto" }, ` → ${answer}`));
  }

  cell(step, chunk) {
    if (!step) return h("span.cell.pending", { title: `${chunkName(chunk)}: not read yet` });
    const state = step.kind === "under way" ? "working" : step.skipped ? "skipped" : step.changed ? "changed" : "same";
    const cell = h(`button.cell.${state}`, {
      type: "button", tabindex: "-1", title: about(step), "aria-label": about(step),
      data: { step: step.number }, style: { "--fill": `${Math.round((100 * step.tokens) / this.most)}%` },
    });
    if (step.guards.length) cell.classList.add("guarded");
    this.cells.set(step.number, cell);
    return cell;
  }

  other(step) {
    const label = { merge: "merged", integration: `reread ${step.of} worked in`, notes: "notes by hand", discarded: "discarded" }[step.kind] || step.kind;
    const element = h(`button.event.${step.kind}`, { type: "button", tabindex: "-1", title: about(step), data: { step: step.number } }, label);
    if (step.guards.length) element.classList.add("guarded");
    this.cells.set(step.number, element);
    return element;
  }

  select(number) {
    this.selected?.classList.remove("selected");
    this.selected?.setAttribute("tabindex", "-1");
    this.selected = this.cells.get(number);
    this.selected?.classList.add("selected");
    this.selected?.setAttribute("tabindex", "0");
  }
}

export function about(step) {
  const parts = [nameOf(step)];
  if (step.skipped) parts.push(`skipped: ${step.skipped}`);
  else if (step.kind === "under way") parts.push("under way");
  else parts.push(step.changed ? "memory rewritten" : "memory unchanged");
  parts.push(`${whole(step.tokens)} tokens`);
  for (const guard of step.guards) parts.push(`guard: ${guard.guard}`);
  return parts.join(", ");
}

export function nameOf(step) {
  const scan = step.reread ? `reread ${step.reread}, ` : "";
  switch (step.kind) {
    case "chunk":
    case "under way": return `${scan}${chunkName(step.chunk)}`;
    case "discarded": return `${scan}${step.chunk === null ? "" : `${chunkName(step.chunk)}, `}cut short and discarded`;
    case "integration": return `${scan}reread ${step.of} worked in`;
    case "notes": return "notes by hand";
    default: return `${scan}${step.kind}`;
  }
}

function legend(data) {
  const steps = data.steps;
  const skipped = steps.filter((step) => step.skipped).length;
  const guarded = steps.filter((step) => step.guards.length).length;
  const shortened = steps.filter((step) => step.guards.some((one) => one.guard === "over-limit")).length;
  const read = new Set(steps.filter((step) => step.kind === "chunk" && !step.reread).map((step) => step.chunk)).size;
  const keys = [
    ["changed", `rewritten`], ["same", "unchanged"],
    skipped && ["skipped", `${whole(skipped)} skipped`],
    guarded && ["guard-key", counted(guarded, "guard event")],
    read < data.chunks.length && ["pending", `${whole(data.chunks.length - read)} not read`],
  ].filter(Boolean);
  return h("p.legend", {},
    keys.map(([kind, label]) => h("span", {}, h(`i.cell.${kind}`, { "aria-hidden": "true" }), label)),
    shortened ? h("span", {}, `${whole(shortened)} shortened`) : null);
}
