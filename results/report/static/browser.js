/* The image browser: one room a benchmark; lists images, sorts them by where two runs differ, shows maps side by side. */
"use strict";
(() => {
  const rooms = window.ROOMS;
  const at = (id) => document.getElementById(id);
  const state = { room: 0, class: 0, a: 0, b: 1, order: "apart", view: "map", image: 0, shown: new Set() };
  const element = (tag, text, cls) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (cls) made.className = cls;
    return made;
  };
  const percent = (value) => (value == null ? "–" : (100 * value).toFixed(1));
  const room = () => rooms[state.room];

  /* The score that images are sorted by: of the chosen class, or of the image as a whole. Null where undefined. */
  function score(run, image) {
    const cell = room().runs[run]?.cells[image];
    if (!cell) return null;
    return state.class ? cell.iou?.[state.class - 1] ?? null : cell.miou;
  }
  function difference(image) {
    const a = score(state.a, image), b = score(state.b, image);
    return a == null || b == null ? null : a - b;
  }

  function sorted() {
    const { images } = room();
    const all = images.map((_, n) => n).filter((n) => !state.class || images[n].classes.includes(state.class - 1));
    const keys = {
      better: (n) => -(difference(n) ?? -Infinity),
      worse: (n) => difference(n) ?? Infinity,
      apart: (n) => -Math.abs(difference(n) ?? 0),
      low: (n) => score(state.a, n) ?? Infinity,
      name: () => 0,
    };
    const key = keys[state.order];
    return all.map((n) => [key(n), n]).sort(([a, m], [b, n]) => (a === b ? m - n : a < b ? -1 : 1)).map(([, n]) => n);
  }

  function options(select, labels, chosen) {
    select.replaceChildren(...labels.map((label, n) => {
      const option = element("option", label);
      option.value = n;
      option.selected = n === chosen;
      return option;
    }));
  }

  function enter(number) {
    const entered = rooms[number];
    const runs = entered.runs.map((run) => run.label);
    Object.assign(state, { room: number, class: 0, a: 0, b: Math.min(1, runs.length - 1), image: 0 });
    state.shown = new Set(runs.map((_, n) => n).slice(0, 4));
    options(at("room"), rooms.map((one) => one.title), number);
    options(at("run-a"), runs, state.a);
    options(at("run-b"), runs, state.b);
    options(at("class"), ["any", ...entered.classes], 0);
    if (!entered.background) at("class").options[1].hidden = true;
    at("runs").replaceChildren(...runs.map((label, n) => {
      const box = element("input"), line = element("label");
      Object.assign(box, { type: "checkbox", value: n, checked: state.shown.has(n) });
      box.addEventListener("change", () => { box.checked ? state.shown.add(n) : state.shown.delete(n); show(); });
      line.append(box, ` ${label}`);
      return line;
    }));
    list(true);
  }

  function list(first) {
    const order = sorted();
    if (first || !order.includes(state.image)) state.image = order[0] ?? -1;
    const { images } = room();
    at("found").textContent = `${order.length} of ${images.length} images`;
    at("images").replaceChildren(...order.map((n) => {
      const line = element("li"), photo = element("img"), apart = difference(n);
      Object.assign(photo, { src: images[n].image, alt: "", loading: "lazy" });
      line.append(photo, element("span", images[n].id), element("b", apart == null ? "–" : `${apart < 0 ? "−" : "+"}${percent(Math.abs(apart))}`));
      line.id = `image-${n}`;
      line.role = "option";
      line.title = images[n].id;
      line.addEventListener("click", () => choose(n));
      return line;
    }));
    choose(state.image, false);
  }

  function choose(n, scroll = true) {
    state.image = n;
    for (const line of at("images").children) line.setAttribute("aria-selected", line.id === `image-${n}`);
    at("images").setAttribute("aria-activedescendant", `image-${n}`);
    if (scroll) at(`image-${n}`)?.scrollIntoView({ block: "nearest", inline: "nearest" });
    show();
  }

  function panel(caption, number, photo, over, cls) {
    const figure = element("figure", undefined, cls), words = element("figcaption");
    const stack = element("div", photo ? undefined : "no label map kept", photo ? "stack" : "stack none");
    for (const [source, kind] of photo ? [[photo, ""], [over, "over"]] : []) {
      if (!source) continue;
      const picture = element("img", undefined, kind);
      Object.assign(picture, { src: source, alt: kind ? `${caption}, drawn over the image` : caption });
      stack.append(picture);
    }
    words.append(element("span", caption));
    if (number) words.append(element("b", number));
    figure.append(stack, words);
    return figure;
  }

  function show() {
    const { images, runs, classes, colours, background } = room(), image = images[state.image];
    at("title").textContent = image ? image.id : "No image of this class is kept";
    if (!image) { at("panels").replaceChildren(); at("legend").replaceChildren(); return; }
    const wanted = [...new Set([state.a, state.b, ...[...state.shown].sort((a, b) => a - b)])];
    const panels = wanted.map((n) => {
      const cell = runs[n].cells[state.image], letter = n === state.a ? "A · " : n === state.b ? "B · " : "";
      const kept = cell ? [image.image, cell[state.view]] : [null, null];
      return panel(letter + runs[n].label, percent(score(n, state.image)), ...kept, letter && "chosen");
    });
    at("panels").replaceChildren(panel("Image", "", image.image, ""), panel("Truth", "", image.image, image.truth), ...panels);
    legend(wanted.flatMap((n) => runs[n].cells[state.image]?.classes ?? []).concat(image.classes), classes, colours, background);
  }

  function legend(numbers, classes, colours, background) {
    const seen = [...new Set(numbers)].filter((k) => k || background).sort((a, b) => a - b);
    const lines = state.view === "errors"
      ? [["#d62839", "wrong"], ["#0072b25a", "right"]]
      : seen.map((k) => [colours[k], classes[k]]);
    at("legend").replaceChildren(...lines.map(([colour, name]) => {
      const line = element("li"), swatch = element("i");
      swatch.style.background = colour;
      line.append(swatch, name);
      return line;
    }));
  }

  const chosen = { room: (n) => enter(n), class: (n) => { state.class = n; list(true); },
    "run-a": (n) => { state.a = n; list(true); }, "run-b": (n) => { state.b = n; list(true); } };
  for (const [id, act] of Object.entries(chosen)) at(id).addEventListener("change", (event) => act(Number(event.target.value)));
  at("order").addEventListener("change", (event) => { state.order = event.target.value; list(true); });
  at("overlay").addEventListener("input", (event) => document.documentElement.style.setProperty("--overlay", event.target.value / 100));
  for (const radio of document.querySelectorAll("[name=view]")) {
    radio.addEventListener("change", () => { state.view = radio.value; show(); });
  }
  at("images").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowRight: 1, j: 1, ArrowUp: -1, ArrowLeft: -1, k: -1 }[event.key];
    const ends = { Home: 0, End: -1 }[event.key];
    if (step === undefined && ends === undefined) return;
    event.preventDefault();
    const order = sorted();
    const place = step === undefined ? ends : Math.min(order.length - 1, Math.max(0, order.indexOf(state.image) + step));
    choose(order.at(place));
  });
  state.order = at("order").value;
  enter(0);
})();
