// A training run: its numbers over its steps, and what the policy wrote.

import { facts, fill, h, said, toast } from "./dom.js";
import { get } from "./api.js";
import { number, stepsPanel } from "./curve.js";
import { counted, whole } from "./format.js";
import { useKeys } from "./keys.js";

const POLL_MS = 4000;
const FIRST = ["reward", "held_out", "loss", "written", "batch"];

export async function showTraining({ main, id, signal, setTrail }) {
  const run = await get(`training/${id}`, {}, signal);
  if (signal.aborted) return;
  setTrail([run.name]);
  main.className = "wide-main";
  const head = h("header.reading-head");
  const plots = h("div.panels");
  const rollouts = new Rollouts(id, signal);
  fill(main, head, plots, rollouts.element);
  let lines = -1;
  const draw = (data) => {
    if (data.lines === lines) return;
    lines = data.lines;
    fill(head, h("h1", { dir: "auto" }, data.name), facts(counted(data.steps, "step"), counted(data.lines, "line"), data.phases.map((phase) => `${phase.phase.replace("_", " ")} from step ${phase.step}`)));
    fill(plots, panels(data));
    rollouts.offer(data.rollouts);
  };
  draw(run);
  useKeys([["j", "next step's rollouts", () => rollouts.turn(1)], ["k", "step before", () => rollouts.turn(-1)]]);
  const timer = setInterval(() => document.hidden || get(`training/${id}`, {}, signal).then(draw, () => {}), POLL_MS);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}

/** A drawing for each family of numbers: what stands before the first stroke of a name. */
function panels(data) {
  const families = new Map();
  for (const [name, points] of Object.entries(data.series)) {
    const family = name.includes("/") ? name.slice(0, name.indexOf("/")) : name;
    if (!families.has(family)) families.set(family, {});
    families.get(family)[name] = points;
  }
  const place = (family) => (FIRST.includes(family) ? FIRST.indexOf(family) : FIRST.length);
  const ordered = [...families].sort(([one], [other]) => place(one) - place(other) || one.localeCompare(other));
  return ordered.flatMap(([family, series]) => scales(series).map((own, part) => stepsPanel(family.replace("_", " ") + (part ? ` (${part + 1})` : ""), own, data.phases)));
}

/** Numbers of one family whose sizes are too far apart are drawn apart, six at most together. */
function scales(series) {
  const sized = Object.entries(series).map(([name, points]) => [name, Math.max(...points.map((point) => Math.abs(point[1])), 1e-12)]).sort((one, other) => other[1] - one[1]);
  const groups = [];
  for (const [name, size] of sized) {
    const fits = groups.find((group) => group.size / size < 20 && group.names.length < 6);
    if (fits) fits.names.push(name);
    else groups.push({ size, names: [name] });
  }
  return groups.map((group) => Object.fromEntries(group.names.map((name) => [name, series[name]])));
}

class Rollouts {
  constructor(id, signal) {
    this.id = id;
    this.signal = signal;
    this.step = h("select", { "aria-label": "Step", onchange: () => this.load() });
    this.list = h("ol.turns");
    this.note = h("p.note");
    this.element = h("section", { "aria-label": "Rollouts" }, h("h2", {}, "Rollouts"), h("div.row", {}, h("label", {}, "step ", this.step), this.note), this.list);
  }

  offer(steps) {
    const options = [...steps.step.map((step) => ["step", step]), ...steps["held-out"].map((step) => ["held-out", step])];
    const chosen = this.step.value;
    fill(this.step, options.map(([occasion, step]) => h("option", { value: `${occasion}/${step}`, selected: chosen === `${occasion}/${step}` }, occasion === "step" ? String(step) : `held out, after ${step}`)));
    if (!options.length) this.note.textContent = "No rollouts are kept: train with log.rollouts on.";
    else if (!chosen) {
      this.step.value = `step/${steps.step.at(-1)}`;
      if (!this.step.value) this.step.selectedIndex = 0;
      this.load();
    }
  }

  turn(way) {
    const next = this.step.selectedIndex + way;
    if (next < 0 || next >= this.step.options.length) return;
    this.step.selectedIndex = next;
    this.load();
  }

  async load() {
    const wanted = this.step.value;
    // Another step's rollouts must not stand under this step's number, nor be opened.
    fill(this.list, []);
    try {
      const found = await get(`training/${this.id}/rollouts/${wanted}`, {}, this.signal);
      if (this.step.value !== wanted) return;
      this.note.textContent = counted(found.rollouts.length, "rollout");
      fill(this.list, found.rollouts.map((one) => this.row(wanted, one)));
    } catch (error) {
      if (!this.signal.aborted) toast(error.message);
    }
  }

  row(wanted, one) {
    const body = h("div.turn-body");
    const details = h("details", {
      ontoggle: async () => {
        if (!details.open || body.childElementCount) return;
        fill(body, conversations(await get(`training/${this.id}/rollouts/${wanted}/${one.n}`, {}, this.signal)));
      },
    },
    h("summary", {},
      h("span.role", {}, one.reward === null ? "–" : number(one.reward)),
      h("span.turn-place", { dir: "auto" }, one.failure || one.answer || (one.expected ? `wanted: ${one.expected.join(" | ")}` : "(no answer)")),
      h("span.turn-cost", {}, `group ${one.group}, number ${one.number}, ${counted(one.conversations, "conversation")}`),
      one.failure && h("span.tag.warn", {}, "failed"), one.dropped && h("span.tag", {}, "left out")),
    body);
    return h("li", {}, details);
  }
}

function conversations(told) {
  return told.conversations.map((one, place) => [
    h("h4", {}, [one.role ?? `conversation ${place + 1}`, one.task].filter(Boolean).join(", ")),
    facts(one.prompt_tokens !== null && `${whole(one.prompt_tokens)} in`, one.tokens !== null && `${whole(one.tokens)} out`, one.finish, one.advantage !== null && `advantage ${number(one.advantage)}`, one.trained === false && "not trained on"),
    said(one.text || "(nothing)", "pre.said"),
    one.prompt && h("details", {}, h("summary", {}, "prompt"), said(one.prompt, "pre.said")),
  ]);
}
