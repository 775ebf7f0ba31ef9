/* Tables that are sorted by a click on a heading and filtered by words; without it they are plain tables. */
"use strict";
(() => {
  const value = (cell) => {
    const text = cell.dataset.sort ?? cell.textContent.trim();
    const number = Number(text);
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
  }

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

  function filter(input) {
    const target = document.getElementById(input.dataset.filter);
    const table = target.tBodies ? target : target.querySelector(":scope > table"); // a list's entries are no rows
    const rows = [...(table?.tBodies[0].rows ?? target.children)];
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0, all = 0;
    for (const row of rows) {
      const text = (row.querySelector("summary") ?? row).textContent.toLowerCase();
      const out = row.classList.contains("left-out"); // by its settings, see settings.js
      row.hidden = !words.every((word) => text.includes(word));
      all += out ? 0 : 1;
      found += out || row.hidden ? 0 : 1;
    }
    const count = document.querySelector(`[data-count="${CSS.escape(target.id)}"]`);
    if (count) count.textContent = words.length ? `${found} of ${all}` : "";
  }
  for (const input of document.querySelectorAll("input[data-filter]")) {
    input.addEventListener("input", () => filter(input));
  }

  const openTarget = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target instanceof HTMLDetailsElement) { target.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", openTarget);
  openTarget();
})();
