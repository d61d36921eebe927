// Numbers and times as people read them.

const WHOLE = new Intl.NumberFormat("en-US");
const SHORT = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 3 });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export const whole = (number) => WHOLE.format(number);
export const short = (number) => (number < 10000 ? WHOLE.format(number) : SHORT.format(number));
export const counted = (number, noun) => `${short(number)} ${noun}${number === 1 ? "" : "s"}`;
export const percent = (share) => (share === null || share === undefined ? "–" : `${(100 * share).toFixed(1)}%`);

export function seconds(number) {
  if (number < 10) return `${number.toFixed(1)} s`;
  if (number < 120) return `${Math.round(number)} s`;
  if (number < 7200) return `${Math.round(number / 60)} min`;
  return `${(number / 3600).toFixed(1)} h`;
}

export function money(dollars) {
  if (dollars === null || dollars === undefined) return "–";
  return dollars >= 1 || dollars === 0 ? `$${dollars.toFixed(2)}` : `$${dollars.toPrecision(3)}`;
}

export function moment(text) {
  const time = new Date(typeof text === "number" ? text * 1000 : text);
  return Number.isNaN(time.getTime()) ? "" : DAY.format(time);
}

export const chunkName = (chunk) => `chunk ${chunk + 1}`;
export const budgetName = (key) => (key === null || key === "none" || key === undefined ? "whole" : whole(Number(key)));
export const lengthName = (key) => (key === null || key === "none" || key === undefined ? "as given" : short(Number(key)));

export function cut(text, most) {
  const signs = Array.from(text.slice(0, 2 * most));
  return signs.length > most || text.length > 2 * most ? `${signs.slice(0, most - 1).join("")}…` : text;
}
