// Elements made of names, attributes and text. Nothing here reads a text as markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `name` may carry classes: "div.card". Strings among the children become text. */
export function h(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length) element.className = classes.join(" ");
  return dressed(element, attributes, children);
}

/** The same for the inside of a drawing. */
export function s(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElementNS(SVG, tag);
  if (classes.length) element.setAttribute("class", classes.join(" "));
  return dressed(element, attributes, children);
}

function dressed(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else if (name === "style") for (const [key, part] of Object.entries(value)) element.style.setProperty(key, part);
    else if (name === "data") for (const [key, part] of Object.entries(value)) element.dataset[key] = part;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false));
  return element;
}

/** Puts other children in place of those that an element has. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false));
  return element;
}

/** A text of a source or a model: its own direction, its own line ends. */
export function said(text, name = "div.said") {
  return h(name, { dir: "auto" }, text);
}

export function button(label, onclick, attributes = {}) {
  return h("button", { type: "button", onclick, ...attributes }, label);
}

/** Facts as a line with dots between. */
export function facts(...parts) {
  const shown = parts.flat().filter(Boolean);
  return h("p.facts", {}, shown.map((part, place) => h("span.fact", {}, place ? h("span.dot", { "aria-hidden": "true" }, "·") : null, part)));
}

export function table(columns, rows, attributes = {}) {
  const head = columns.map((one) => h("th", { scope: "col", class: one.number ? "number" : null }, one.name));
  const body = rows.map((row) =>
    h("tr", {}, row.map((cell, place) => h("td", { class: columns[place].number ? "number" : null, data: { label: columns[place].name } }, cell ?? "")))
  );
  return h("div.wide", { tabindex: "0" }, h("table", attributes, h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}

let fading = 0;

/** Says something at the foot of the page for a while. */
export function toast(message) {
  const place = document.getElementById("toast");
  place.textContent = message;
  place.classList.add("shown");
  clearTimeout(fading);
  fading = setTimeout(() => place.classList.remove("shown"), 6000);
}
