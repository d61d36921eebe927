"use strict";
{
  const PAGE = 25;
  const element = (tag, text, name) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    return made;
  };

  const sorted = (table, column, descending) => {
    const key = (row) => {
      const cell = row.cells[column];
      const number = cell.dataset.value;
      return number === undefined ? cell.textContent : number === "inf" ? Infinity : Number(number);
    };
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (typeof x === "string" || typeof y === "string") return String(x).localeCompare(String(y));
      return x === y ? 0 : x - y;
    };
    const rows = [...table.tBodies[0].rows].sort(order);
    if (descending) rows.reverse();
    table.tBodies[0].append(...rows);
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = element("button", head.textContent);
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const descending = head.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", descending ? "descending" : "ascending");
        sorted(table, column, descending);
      });
    });
  }

  const { runs, items } = JSON.parse(document.getElementById("data").textContent);
  const form = document.getElementById("filters");
  const list = document.getElementById("list");
  const place = document.getElementById("place");
  const [previous, next] = [document.getElementById("previous"), document.getElementById("next")];
  let page = 0;
  let shown = [];

  const field = (name) => form.elements.namedItem(name).value;
  const budgetName = (budget) => (budget === null ? "whole" : budget.toLocaleString("en"));
  const lengthName = (length) => (length === null ? "as given" : length.toLocaleString("en"));
  const choose = (name, values) => {
    const select = form.elements.namedItem(name);
    for (const [value, text] of values) {
      const option = element("option", text);
      option.value = value;
      select.append(option);
    }
  };
  const distinct = (values) => [...new Set(values)];

  const matches = (item) => {
    const [run, budget, length] = [field("run"), field("budget"), field("length")];
    if (run && String(item.run) !== run) return false;
    if (length && String(item.length) !== length) return false;
    const answers = item.answers.filter((one) => !budget || String(one.budget) === budget);
    if (!answers.length) return false;
    const wanted = field("show");
    if (wanted === "failed" && item.status !== "failed") return false;
    if (wanted === "capped" && item.status !== "partial") return false;
    if (wanted === "wrong" && !answers.some((one) => one.score < 1)) return false;
    if (wanted === "right" && !answers.every((one) => one.score >= 1)) return false;
    const text = field("text").toLowerCase();
    return !text || item.text.includes(text);
  };

  const term = (into, name, text, mark) => {
    into.append(element("dt", name, mark));
    const told = element("dd", text);
    told.dir = "auto";
    into.append(told);
  };

  const card = (item) => {
    const made = element("article", undefined, "item");
    const status = item.status === "partial" ? "capped" : item.status;
    made.append(element("div",
      `${runs[item.run]} · ${item.id}${item.category ? ` · ${item.category}` : ""} · ` +
      `${lengthName(item.length)} · seed ${item.seed} · ${status}`, "facts"));
    const question = element("div", item.question, "question");
    question.dir = "auto";
    made.append(question);
    const facts = element("dl");
    term(facts, "accepted", item.accepted.join("  |  ") || "(none: it cannot be answered)");
    if (item.reason) term(facts, "reason", item.reason, "wrong");
    const budget = field("budget");
    for (const one of item.answers) {
      if (budget && String(one.budget) !== budget) continue;
      const score = `${budgetName(one.budget)}: ${item.metric} ${(one.score * 100).toFixed(0)}`;
      term(facts, score, one.prediction || "(no answer)", one.score >= 1 ? "right" : "wrong");
    }
    made.append(facts);
    return made;
  };

  const show = () => {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    list.replaceChildren(...shown.slice(page * PAGE, (page + 1) * PAGE).map(card));
    place.textContent =
      `page ${page + 1} of ${pages} (${shown.length.toLocaleString("en")} of ` +
      `${items.length.toLocaleString("en")})`;
    previous.disabled = page === 0;
    next.disabled = page === pages - 1;
  };
  const filter = () => {
    shown = items.filter(matches);
    page = 0;
    show();
  };
  const turn = (by) => {
    page += by;
    show();
    form.scrollIntoView({ block: "start" });
  };

  for (const item of items) {
    item.text = [item.id, item.question, item.category, item.reason, ...item.accepted,
      ...item.answers.map((one) => one.prediction)].join("\n").toLowerCase();
  }
  choose("run", runs.map((name, number) => [String(number), name]));
  choose("length", distinct(items.map((item) => item.length)).map((one) => [String(one), lengthName(one)]));
  choose("budget", distinct(items.flatMap((item) => item.answers.map((one) => one.budget)))
    .map((one) => [String(one), budgetName(one)]));
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
  previous.addEventListener("click", () => turn(-1));
  next.addEventListener("click", () => turn(1));
  filter();
}
