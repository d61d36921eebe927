// Lines over an axis, drawn as SVG from numbers.

import { h, s } from "./dom.js";
import { short, whole } from "./format.js";

const WIDTH = 560;
const HEIGHT = 300;
const LEFT = 52;
const RIGHT = 16;
const TOP = 14;
const BOTTOM = 44;
const SERIES = 6;
const BESIDE = 5; // between the intervals of two lines

/** A panel of an evaluation: scores with intervals over budgets or lengths. */
export function scorePanel(panel) {
  const points = panel.lines.flatMap((line) => line.points);
  const xs = points.map((point) => point.x).filter((x) => x);
  const highest = Math.min(1, Math.max(0.1, ...points.map((point) => point.high)) * 1.06);
  const x = logScale(Math.min(...xs, Infinity), Math.max(...xs, -Infinity));
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / highest);
  const ticks = [...new Set(xs)].sort((one, other) => one - other);
  const drawing = s("svg.plot", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": panel.title },
    yGrid(highest, y, (value) => `${Math.round(100 * value)}`),
    thinned(ticks, x).map((tick) => s("text.tick", { x: x(tick), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, short(tick))),
    axisNames(panel.x, `${panel.y}, %`),
    panel.lines.map((line, place) => scoreLine(line, (value) => x(value) + BESIDE * (place - (panel.lines.length - 1) / 2), y)));
  return h("figure.curve", {}, h("figcaption", { dir: "auto" }, panel.title), drawing);
}

function scoreLine(line, x, y) {
  const colour = `series-${(line.colour % SERIES) + 1}`;
  const placed = line.points.filter((point) => point.x).sort((one, other) => one.x - other.x);
  const levels = line.points.filter((point) => !point.x);
  return s("g", { class: `${colour} ${line.memory}` },
    levels.map((point) => [
      s("rect.band", { x: LEFT, width: WIDTH - LEFT - RIGHT, y: y(point.high), height: Math.max(0, y(point.low) - y(point.high)) }),
      s("line.level", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(point.mean), y2: y(point.mean) }, s("title", {}, told(line, point))),
    ]),
    placed.map((point) => s("line.bar", { x1: x(point.x), x2: x(point.x), y1: y(point.low), y2: y(point.high) })),
    s("polyline.line", { points: placed.map((point) => `${x(point.x)},${y(point.mean)}`).join(" ") }),
    placed.map((point) => s("circle.point", { cx: x(point.x), cy: y(point.mean), r: 4 }, s("title", {}, told(line, point)))));
}

function told(line, point) {
  const share = (value) => `${(100 * value).toFixed(1)}%`;
  return `${line.label}, ${point.name}: ${share(point.mean)} (${share(point.low)} to ${share(point.high)})`;
}

/** Which line is which run. */
export function legendOf(panels) {
  const lines = new Map(panels.flatMap((panel) => panel.lines).map((line) => [line.label, line]));
  return h("ul.plot-legend", {}, [...lines.values()].map((line) =>
    h("li", {}, h(`i.series-${(line.colour % SERIES) + 1}`, { "aria-hidden": "true" }), h("span", { dir: "auto" }, line.label), ` ${{ visual: "page", text: "text memory", none: "no memory" }[line.memory]}`)));
}

/** Numbers of a training run over its steps. */
export function stepsPanel(title, series, phases) {
  const names = Object.keys(series);
  const points = names.flatMap((name) => series[name]);
  const steps = points.map((point) => point[0]);
  const values = points.map((point) => point[1]);
  const first = Math.min(...steps);
  const last = Math.max(...steps, first + 1);
  const low = Math.min(0, ...values);
  const high = Math.max(...values, low + 1e-9);
  const x = (step) => LEFT + ((WIDTH - LEFT - RIGHT) * (step - first)) / (last - first);
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / (high - low));
  const drawing = s("svg.plot", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title },
    yGrid(high, y, number, low),
    rounds(first, last).map((tick) => s("text.tick", { x: x(tick), y: HEIGHT - BOTTOM + 18, "text-anchor": "middle" }, whole(tick))),
    axisNames("step", ""),
    phases.filter((phase) => phase.step > first).map((phase) => s("line.phase", { x1: x(phase.step), x2: x(phase.step), y1: TOP, y2: HEIGHT - BOTTOM }, s("title", {}, phase.phase.replace("_", " ")))),
    names.map((name, place) => s("g", { class: `series-${(place % SERIES) + 1}` },
      s("polyline.line", { points: series[name].map(([step, value]) => `${x(step)},${y(value)}`).join(" ") }),
      series[name].length < 60 && series[name].map(([step, value]) => s("circle.point", { cx: x(step), cy: y(value), r: 2.5 }, s("title", {}, `${name}, step ${step}: ${number(value)}`))))));
  const legend = names.length > 1 && h("ul.plot-legend", {}, names.map((name, place) => h("li", {}, h(`i.series-${(place % SERIES) + 1}`, { "aria-hidden": "true" }), shortName(name), h("small", {}, ` ${number(series[name].at(-1)[1])}`))));
  return h("figure.curve", {}, h("figcaption", {}, title), legend, drawing);
}

const shortName = (name) => name.slice(name.indexOf("/") + 1).replaceAll("_", " ");

export function number(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  return size >= 10000 || size < 0.001 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

function yGrid(high, y, name, low = 0) {
  return rounds(low, high).map((value) => [
    s("line.grid", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
    s("text.tick", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, name(value)),
  ]);
}

function axisNames(below, beside) {
  return [
    s("text.axis", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, below),
    beside && s("text.axis", { x: 12, y: (HEIGHT - BOTTOM + TOP) / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${(HEIGHT - BOTTOM + TOP) / 2})` }, beside),
  ];
}

function logScale(low, high) {
  if (!Number.isFinite(low)) return () => LEFT;
  const [from, to] = [Math.log(low / 1.4), Math.log(high * 1.4)];
  return (value) => LEFT + ((WIDTH - LEFT - RIGHT) * (Math.log(value) - from)) / (to - from);
}

/** A few round numbers between two. */
function rounds(low, high) {
  const step = [1, 2, 2.5, 5, 10].map((part) => part * 10 ** Math.floor(Math.log10((high - low) / 4))).find((one) => (high - low) / one <= 6);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) found.push(Number(value.toPrecision(12)));
  return found;
}

/** Ticks that do not stand on each other. */
function thinned(ticks, x) {
  const kept = [];
  for (const tick of ticks) if (!kept.length || x(tick) - x(kept.at(-1)) > 38) kept.push(tick);
  return kept;
}
