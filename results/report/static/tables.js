/* Tables that are sorted by a click on a heading and filtered by words; without it they are plain tables. Of a long one
   the first rows are laid out, and the next ones as one scrolls towards them, so that many rows cost nothing. */
"use strict";
(() => {
  const value = (cell) => {
    const text = cell.dataset.sort ?? cell.textContent.trim();
    const number = Number(text);
    if (text === "–") return -Infinity;
    return text !== "" && !Number.isNaN(number) ? number : text.toLowerCase();
  };
  const compare = (a, b) => {
    if (typeof a === typeof b) return a < b ? -1 : a > b ? 1 : 0;
    return typeof a === "number" ? -1 : 1;
  };

  function sort(table, heading, place) {
    const down = heading.getAttribute("aria-sort") === "ascending" ||
      (!heading.hasAttribute("aria-sort") && !heading.classList.contains("text") && !heading.classList.contains("narrow"));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row, index) => ({ row, index, key: value(row.cells[place]) }));
    rows.sort((a, b) => (down ? -1 : 1) * compare(a.key, b.key) || a.index - b.index);
    body.append(...rows.map((one) => one.row));
    table.classList.add("sorted");
    for (const { row } of rows) row.classList.remove("first-of-group");
    settle(body, true);
  }

  const FIRST = 40; // as in the templates
  const lists = new Map(); // what holds the rows -> how many are laid out, and the row at which more are
  const out = (row) => row.hidden || row.classList.contains("left-out"); // by its settings, see settings.js
  const watcher = new IntersectionObserver((seen) => {
    for (const one of seen) if (one.isIntersecting) grow(one.target.parentNode, FIRST);
  });
  function grow(body, more) {
    lists.get(body).shown += more;
    settle(body);
  }
  function settle(body, anew) {
    const list = lists.get(body);
    if (!list) return;
    if (anew) list.shown = FIRST;
    let left = list.shown, edge = null;
    for (const row of body.children) {
      if (out(row)) continue;
      const later = left-- <= 0;
      if (row.classList.contains("later") !== later) row.classList.toggle("later", later);
      if (left === FIRST / 4) edge = row;
    }
    if (list.edge) watcher.unobserve(list.edge);
    list.edge = left < 0 ? edge : null;
    if (list.edge) watcher.observe(list.edge);
  }
  for (const body of document.querySelectorAll("tbody, .receipts")) {
    if (body.children.length <= FIRST) continue;
    lists.set(body, { shown: FIRST, edge: null });
    settle(body);
  }
  /* Who looks for a word in the page looks in all rows. */
  addEventListener("keydown", (event) => {
    if (event.key === "F3" || ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "f")) {
      for (const body of lists.keys()) grow(body, Infinity);
    }
  });

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((heading, place) => {
      if ("unsorted" in heading.dataset) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => sort(table, heading, place));
    });
  }

  const texts = new WeakMap();
  function text(row) {
    if (!texts.has(row)) texts.set(row, (row.querySelector("summary") ?? row).textContent.toLowerCase());
    return texts.get(row);
  }
  function filter(input) {
    const target = document.getElementById(input.dataset.filter);
    const table = target.tBodies ? target : target.querySelector(":scope > table"); // a list's entries are no rows
    const body = table?.tBodies[0] ?? target;
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0, all = 0;
    for (const row of body.children) {
      const hidden = !words.every((word) => text(row).includes(word));
      if (row.hidden !== hidden) row.hidden = hidden;
      const left = row.classList.contains("left-out");
      all += left ? 0 : 1;
      found += left || hidden ? 0 : 1;
    }
    settle(body, true);
    const count = document.querySelector(`[data-count="${CSS.escape(target.id)}"]`);
    if (count) count.textContent = words.length ? `${found} of ${all}` : "";
  }
  for (const input of document.querySelectorAll("input[data-filter]")) {
    input.addEventListener("input", () => filter(input));
  }
  document.addEventListener("chosen", () => {
    for (const body of lists.keys()) settle(body, true);
    for (const input of document.querySelectorAll("input[data-filter]")) if (input.value) filter(input);
  });

  const openTarget = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target) target.classList.remove("later");
    if (target instanceof HTMLDetailsElement) { target.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", openTarget);
  openTarget();
})();
