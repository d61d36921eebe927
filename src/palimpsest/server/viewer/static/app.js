// The page: which view stands at which address, light and dark, keys.

import { fill, h, toast } from "./dom.js";
import { startKeys, useKeys } from "./keys.js";
import { showAsk } from "./ask.js";
import { showHome } from "./home.js";
import { showReading } from "./reading.js";
import { showRun } from "./run.js";
import { showTraining } from "./training.js";

const VIEWS = [
  [/^$/, showHome],
  [/^reading\/([\w-]+)$/, showReading],
  [/^run\/(\w+)$/, showRun],
  [/^training\/(\w+)$/, showTraining],
  [/^ask$/, showAsk],
];
const THEME = "palimpsest-theme";
let leaving = new AbortController();

/** What a view is given: where to draw, what the address says, and a signal for when it is left. */
async function go() {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const main = document.getElementById("main");
  useKeys([]);
  setTrail([]);
  main.className = "";
  fill(main, h("p.waiting", {}, "…"));
  const found = VIEWS.map(([pattern, show]) => [path.match(pattern), show]).find(([match]) => match);
  try {
    if (!found) throw new Error("there is nothing at this address");
    const [match, show] = found;
    await show({ main, id: match[1], query: new URLSearchParams(query), signal, setTrail });
  } catch (error) {
    if (signal.aborted) return;
    fill(main, h("div.empty", {}, h("h1", {}, "Nothing to show"), h("p", {}, error.message), h("a", { href: "#/" }, "To the list")));
  }
}

function setTrail(parts) {
  fill(document.getElementById("trail"), parts.map((part) => h("span", { dir: "auto" }, part)));
  document.title = [...parts, "Palimpsest"].join(" – ");
}

function startTheme() {
  const root = document.documentElement;
  const apply = (theme) => (theme ? root.setAttribute("data-theme", theme) : root.removeAttribute("data-theme"));
  apply(localStorage.getItem(THEME));
  document.getElementById("theme").addEventListener("click", () => {
    const now = root.getAttribute("data-theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    const next = now === "dark" ? "light" : "dark";
    localStorage.setItem(THEME, next);
    apply(next);
  });
}

addEventListener("hashchange", go);
addEventListener("unhandledrejection", (event) => {
  if (event.reason?.name !== "AbortError") toast(event.reason?.message || "something went wrong");
});
startTheme();
startKeys();
go();
