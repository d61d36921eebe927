// The keyboard: what a view listens to, and what is always there.

import { h, fill } from "./dom.js";

const ALWAYS = [
  ["/", "search, or filter"],
  ["?", "this list"],
  ["Esc", "close, or leave a field"],
  ["h", "to the list of everything"],
];
let own = {};
let told = [];

/** Listens to keys of a view: [[key, what it does, function], ...]. */
export function useKeys(list) {
  own = Object.fromEntries(list.map(([key, , act]) => [key, act]));
  told = list.filter(([, about]) => about).map(([key, about]) => [key, about]);
}

export function startKeys() {
  document.getElementById("help-button").addEventListener("click", showHelp);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const typing = event.target.closest?.("input:not([type=range], [type=checkbox]), textarea, select");
    if (event.key === "Escape") {
      if (typing) typing.blur();
      else own.Escape?.(event);
      return;
    }
    if (typing || document.querySelector("dialog[open]")) return;
    const act = own[event.key] || { "?": showHelp, "/": focusSearch, h: () => (location.hash = "#/") }[event.key];
    if (act) {
      event.preventDefault();
      act(event);
    }
  });
}

function showHelp() {
  const dialog = document.getElementById("help");
  const rows = [...told, ...ALWAYS].map(([key, about]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, about)]);
  fill(document.getElementById("help-keys"), rows);
  if (!dialog.open) dialog.showModal();
}

function focusSearch() {
  const fields = [...document.querySelectorAll("[data-search]")];
  const field = fields.find((one) => one.offsetParent !== null);
  field?.focus();
  field?.select();
}
