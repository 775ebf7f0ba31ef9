/* The image browser: one room a benchmark; lists images, sorts them by where two runs differ, shows maps side by side.
   How closely one looks, and what is under the pointer, is looking.js.
   What is looked at stands in the address by names and run ids, so a link leads there from any machine, after a merge too. */
"use strict";
(() => {
  const rooms = window.ROOMS;
  const at = (id) => document.getElementById(id);
  const state = { room: 0, class: 0, a: 0, b: 1, score: 0, order: "apart", view: "map", rest: false, image: 0, shown: new Set() };
  const element = (tag, text, cls) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (cls) made.className = cls;
    return made;
  };
  const WORDS = { miou: "mIoU", miou_gt_present: "mIoU, labelled classes", miou_all_zero: "mIoU, absent as 0", mean_dice: "mean Dice",
    mean_f_score: "mean F1", frequency_weighted_iou: "frequency-weighted IoU", worst_class_iou: "worst class's IoU",
    worst_decile_miou: "worst tenth of classes", boundary_iou: "boundary IoU" };
  const percent = (value) => (value == null ? "–" : (100 * value).toFixed(1));
  const room = () => rooms[state.room];

  /* The score that images are sorted by: IoU of the chosen class, or a score of the image. Null where undefined. */
  function score(run, image) {
    const cell = room().runs[run]?.cells[image];
    if (!cell) return null;
    return state.class ? cell.iou?.[state.class - 1] ?? null : cell.scores?.[state.score] ?? null;
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

  const places = (all, key, wanted) => wanted.map((one) => all.findIndex((each) => each[key] === one)).filter((n) => n >= 0);

  /* A benchmark as it is first seen, or as an address tells it: what the address names and is not here is left out. */
  function enter(number, told = new URLSearchParams()) {
    const entered = rooms[number];
    const runs = entered.runs.map((run) => run.label);
    const [a = 0] = places(entered.runs, "id", [told.get("a")]), [image = -1] = places(entered.images, "id", [told.get("image")]);
    const [b = Math.min(1, runs.length - 1)] = places(entered.runs, "id", [told.get("b")]);
    const score = Math.max(0, entered.scores.indexOf(told.get("score")));
    Object.assign(state, { room: number, class: entered.classes.indexOf(told.get("class")) + 1, a, b, image, score });
    state.shown = new Set(told.has("runs") ? places(entered.runs, "id", told.get("runs").split(",")) : runs.map((_, n) => n).slice(0, 4));
    options(at("room"), rooms.map((one) => one.title), number);
    options(at("run-a"), runs, state.a);
    options(at("run-b"), runs, state.b);
    options(at("score"), entered.scores.map((name) => WORDS[name] ?? name.replaceAll("_", " ")), score);
    options(at("class"), ["any", ...entered.classes], state.class);
    if (!entered.background) at("class").options[1].hidden = true;
    at("runs").replaceChildren(...runs.map((label, n) => {
      const box = element("input"), line = element("label");
      Object.assign(box, { type: "checkbox", value: n, checked: state.shown.has(n) });
      box.addEventListener("change", () => { box.checked ? state.shown.add(n) : state.shown.delete(n); show(); });
      line.append(box, ` ${label}`);
      return line;
    }));
    list(image < 0);
  }

  function recall() {
    const told = new URLSearchParams(location.hash.slice(1));
    const known = (id, value) => [...at(id).options].some((option) => option.value === value);
    if (known("order", told.get("order"))) at("order").value = told.get("order");
    for (const radio of document.querySelectorAll("[name=view]")) if (told.has("view")) radio.checked = radio.value === told.get("view");
    Object.assign(state, { order: at("order").value, view: document.querySelector("[name=view]:checked")?.value ?? "map", rest: told.has("rest") });
    Object.assign(at("rest"), { checked: state.rest, disabled: state.view !== "map" });
    window.LOOK.set(told.get("look"));
    enter(Math.max(0, ...places(rooms, "title", [told.get("data")])), told);
  }

  function address() {
    const { title, images, runs, classes, scores } = room();
    const told = new URLSearchParams({ data: title, image: images[state.image]?.id ?? "", a: runs[state.a].id, b: runs[state.b].id,
      runs: [...state.shown].map((n) => runs[n].id).join(","), order: state.order, view: state.view });
    if (state.class) told.set("class", classes[state.class - 1]);
    if (state.score) told.set("score", scores[state.score]);
    if (window.LOOK.told()) told.set("look", window.LOOK.told());
    if (state.rest) told.set("rest", "");
    history.replaceState(null, "", `#${told}`);
  }

  function list(first) {
    const order = sorted();
    at("score").disabled = state.class > 0;
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

  /* Layers lie over the photograph: [source, class, what it is]; those without a source are left out.
     looked: where the panel's class numbers lie, and the words for the class at a pixel where the truth has another. */
  function panel(caption, number, photo, layers, cls, looked = {}) {
    const figure = element("figure", undefined, cls), words = element("figcaption");
    const stack = element("div", photo ? undefined : "no label map kept", photo ? "stack" : "stack none");
    const seen = element("div", undefined, layers.length ? "seen under" : "seen");
    for (const [source, kind, what] of photo ? [[photo, "photo", ""], ...layers] : []) {
      if (!source) continue;
      const picture = element("img", undefined, kind);
      Object.assign(picture, { src: source, alt: kind === "photo" ? caption : what, draggable: false });
      seen.append(picture);
    }
    if (photo) stack.append(seen, element("i", undefined, "mark"), element("output", undefined, "tag"));
    words.append(element("span", caption));
    if (number) words.append(element("b", number));
    words.title = caption;
    figure.append(stack, words);
    return Object.assign(figure, { looked });
  }

  /* What a panel says of a pixel: its class there, the IoU of that class in this image, and whether it is the true one. */
  const NONE = 65535;
  const named = (number) => (number === NONE ? "no class" : room().classes[number] ?? `class ${number}`);
  const counts = (truth) => truth !== NONE && (truth !== 0 || room().background);
  const ofTruth = (truth) => (counts(truth) ? named(truth) : "not scored");
  function ofRun(cell) {
    return (number, truth) => {
      const iou = cell.iou?.[number], words = `${named(number)}${iou == null ? "" : ` · IoU ${percent(iou)}`}`;
      return counts(truth) ? `${number === truth ? "✓" : "✗"} ${words}` : `${words} (not scored)`;
    };
  }

  /* What is not scored is hatched; over label maps it can be taken away, so that the whole map is seen. */
  const whole = () => state.rest && state.view === "map";
  function layers(image, cell, caption) {
    const rest = whole() ? [cell.rest, "over", `${caption}, where it is not scored`] : [image.unscored, "hatch", ""];
    return [[cell[state.view], "over", `${caption}, drawn over the image`], rest];
  }

  function show() {
    const { images, runs } = room(), image = images[state.image];
    address();
    at("title").textContent = image ? image.id : "No image of this class is kept";
    if (!image) { at("panels").replaceChildren(); at("legend").replaceChildren(); return; }
    const wanted = [...new Set([state.a, state.b, ...[...state.shown].sort((a, b) => a - b)])];
    const panels = wanted.map((n) => {
      const cell = runs[n].cells[state.image], letter = n === state.a ? "A · " : n === state.b ? "B · " : "";
      const caption = letter + runs[n].label, kept = cell ? [image.image, layers(image, cell, caption)] : [null, []];
      return panel(caption, percent(score(n, state.image)), ...kept, letter && "chosen", cell && { numbers: cell.numbers, says: ofRun(cell) });
    });
    const truth = [[image.truth, "over", "Truth, drawn over the image"], [image.unscored, "hatch", ""]];
    at("panels").replaceChildren(panel("Image", "", image.image, []),
      panel("Truth", "", image.image, truth, "", { numbers: image.numbers, says: ofTruth }), ...panels);
    window.LOOK.shown();
    const cells = wanted.map((n) => runs[n].cells[state.image]).filter(Boolean);
    const given = cells.flatMap((cell) => (whole() ? [...cell.classes, ...cell.rest_classes] : cell.classes));
    legend([...given, ...image.classes], image.unscored);
  }

  function legend(numbers, unscored) {
    const { classes, colours, errors, background } = room();
    const seen = [...new Set(numbers)].filter((k) => k || background).sort((a, b) => a - b);
    const lines = state.view === "errors"
      ? [[errors.wrong, "wrong"], [errors.right, "right"]]
      : seen.map((k) => [colours[k], classes[k]]);
    if (unscored) lines.push(["", whole() ? "not scored (hatched in the truth)" : "not scored"]);
    at("legend").replaceChildren(...lines.map(([colour, name]) => {
      const line = element("li"), swatch = element("i", undefined, colour ? "" : "unscored");
      if (colour) swatch.style.setProperty("--colour", colour);
      line.append(swatch, name);
      return line;
    }));
  }

  const chosen = { room: (n) => enter(n), score: (n) => { state.score = n; list(true); }, class: (n) => { state.class = n; list(true); },
    "run-a": (n) => { state.a = n; list(true); }, "run-b": (n) => { state.b = n; list(true); } };
  for (const [id, act] of Object.entries(chosen)) at(id).addEventListener("change", (event) => act(Number(event.target.value)));
  at("order").addEventListener("change", (event) => { state.order = event.target.value; list(true); });
  at("overlay").addEventListener("input", (event) => document.documentElement.style.setProperty("--overlay", event.target.value / 100));
  for (const radio of document.querySelectorAll("[name=view]")) {
    radio.addEventListener("change", () => { state.view = radio.value; at("rest").disabled = state.view !== "map"; show(); });
  }
  at("rest").addEventListener("change", (event) => { state.rest = event.target.checked; show(); });
  /* Without focus too, but never in place of what a control does with a key, or what a window does with Home and End. */
  document.addEventListener("keydown", (event) => {
    const own = event.target.closest("#images"), taken = event.target.closest("input, select, textarea, [contenteditable]");
    const step = { ArrowDown: 1, ArrowRight: 1, j: 1, ArrowUp: -1, ArrowLeft: -1, k: -1 }[event.key];
    const ends = own ? { Home: 0, End: -1 }[event.key] : undefined;
    if (taken || event.shiftKey || event.ctrlKey || event.altKey || event.metaKey || (step === undefined && ends === undefined)) return;
    event.preventDefault();
    const order = sorted();
    const place = step === undefined ? ends : Math.min(order.length - 1, Math.max(0, order.indexOf(state.image) + step));
    choose(order.at(place));
  });
  addEventListener("hashchange", recall);
  addEventListener("looked", address);
  recall();
})();
