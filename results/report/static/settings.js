/* Chooses runs by their settings, in all tables of the page; what is chosen stands in the address, by names and values.
   A run that lacks a setting altogether stays, as in `where` of a declared table. */
"use strict";
(() => {
  const { settings, runs } = JSON.parse(document.getElementById("choices").textContent);
  const bar = document.getElementById("settings"), found = document.getElementById("settings-found");
  const chosen = settings.map(() => new Set());
  const element = (tag, text, cls) => Object.assign(document.createElement(tag), text === undefined ? {} : { textContent: text }, cls ? { className: cls } : {});

  const fits = (run) => !(run in runs) || runs[run].every((place, n) => place === null || !chosen[n].size || chosen[n].has(place));

  /* A line of several runs is shown with all of them in a list of differences, with any in a table of data sets. */
  const lines = [...document.querySelectorAll("tr[data-runs]")].map((row) => [row, row.dataset.runs.split(" "), "every"]);
  for (const row of document.querySelectorAll("table.matrix tbody tr")) {
    const ids = [...row.querySelectorAll("a[href*='#']")].map((link) => link.hash.slice(1));
    if (ids.length) lines.push([row, ids, "some"]);
  }
  const boards = [...document.querySelectorAll("section[data-board]")].map((section) => [section, section.querySelector(".board").tBodies[0].rows]);
  const leave = (one, out) => { if (one.classList.contains("left-out") !== out) one.classList.toggle("left-out", out); };
  function apply() {
    const held = new Map(Object.keys(runs).map((run) => [run, fits(run)]));
    const shown = (run) => held.get(run) ?? true;
    for (const [row, ids, how] of lines) leave(row, !ids[how](shown));
    for (const [section, rows] of boards) leave(section, [...rows].every((row) => row.classList.contains("left-out")));
    const number = [...held.values()].filter(Boolean).length;
    found.value = chosen.some((one) => one.size) ? `${number} of ${held.size} runs` : "";
    document.getElementById("settings-all").hidden = !found.value;
    document.dispatchEvent(new Event("chosen"));
  }

  function say(n) {
    const [, values] = settings[n], some = [...chosen[n]].sort((a, b) => a - b).map((place) => values[place]);
    bar.children[n].querySelector("b").textContent = some.length ? some.join(", ") : "any";
    bar.children[n].classList.toggle("some", some.length > 0);
    for (const box of bar.children[n].querySelectorAll("input")) box.checked = chosen[n].has(Number(box.value));
  }
  function remember() {
    const told = new URLSearchParams();
    settings.forEach(([name, values], n) => chosen[n].forEach((place) => told.append(name, values[place])));
    history.replaceState(null, "", `#${told}`);
  }
  /* An address that names no setting is the anchor of a table, and changes nothing. */
  function recall() {
    const told = new URLSearchParams(location.hash.slice(1));
    if (!location.hash.includes("=")) return;
    settings.forEach(([name, values], n) => {
      chosen[n] = new Set(told.getAll(name).map((value) => values.indexOf(value)).filter((place) => place >= 0));
      say(n);
    });
    apply();
  }

  bar.append(...settings.map(([name, values], n) => {
    const choice = element("details", undefined, "choice"), head = element("summary", `${name} `), boxes = element("div", undefined, "boxes");
    head.append(element("b", "any"));
    boxes.append(...values.map((value, place) => {
      const line = element("label"), box = Object.assign(element("input"), { type: "checkbox", value: place });
      box.addEventListener("change", () => { box.checked ? chosen[n].add(place) : chosen[n].delete(place); say(n); remember(); apply(); });
      line.append(box, ` ${value}`);
      return line;
    }));
    choice.append(head, boxes);
    choice.addEventListener("toggle", () => boxes.classList.toggle("left", choice.open && choice.getBoundingClientRect().left + boxes.offsetWidth > innerWidth - 16));
    return choice;
  }));
  document.getElementById("settings-all").addEventListener("click", () => {
    chosen.forEach((one, n) => { one.clear(); say(n); });
    remember();
    apply();
  });
  /* One choice is open at a time; a click elsewhere or Escape closes it. */
  const close = (but) => { for (const choice of bar.querySelectorAll("[open]")) if (choice !== but) choice.open = false; };
  document.addEventListener("click", (event) => close(event.target.closest(".choice")));
  document.addEventListener("keydown", (event) => {
    const open = event.key === "Escape" && event.target.closest(".choice[open]");
    if (open) { open.open = false; open.querySelector("summary").focus(); }
  });
  document.getElementById("settings-bar").hidden = !settings.length;
  addEventListener("hashchange", recall);
  recall();
})();
