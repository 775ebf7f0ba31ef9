/* Looks closely at all panels in step: wheel, fingers, drag and keys zoom and move; every panel says what is under the
   pointer, from class numbers that lie as scripts beside the pictures (a page from the disk may look into no picture). */
"use strict";
(() => {
  const MOST = 16, panels = document.getElementById("panels"), told = document.getElementById("zoom");
  const look = { k: 1, x: 0, y: 0 }; // how many times larger, and where the left upper corner is, in widths and heights of a panel
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const held = new Map(), fingers = new Map();
  let pointed = null, waiting = 0;

  function apply() {
    look.k = clamp(look.k, 1, MOST);
    for (const side of ["x", "y"]) look[side] = clamp(look[side], 1 - look.k, 0);
    for (const name of ["k", "x", "y"]) panels.style.setProperty(`--${name}`, look[name]);
    panels.classList.toggle("close", look.k > 1);
    told.value = `${Math.round(100 * look.k)} %`;
    point();
    clearTimeout(waiting);
    waiting = setTimeout(() => dispatchEvent(new Event("looked")), 200); // an address may not be written at every turn of a wheel
  }

  /* Larger by a factor about a point of a panel, by itself the one under the pointer, else the middle. */
  function zoom(factor, about = pointed ?? { x: 0.5, y: 0.5 }) {
    const k = clamp(look.k * factor, 1, MOST), by = k / look.k;
    if (by === 1) return false;
    Object.assign(look, { k, x: about.x - (about.x - look.x) * by, y: about.y - (about.y - look.y) * by });
    apply();
    return true;
  }
  function move(x, y) {
    look.x += x;
    look.y += y;
    apply();
  }
  const whole = () => { Object.assign(look, { k: 1, x: 0, y: 0 }); apply(); };

  /* The class numbers of a panel, once; null until they are there. */
  function numbers(key) {
    if (held.has(key)) return held.get(key);
    held.set(key, null);
    const script = document.createElement("script"), picture = new Image();
    script.src = `${key}.js`;
    script.onload = () => { picture.src = window.NUMBERS[key]; script.remove(); };
    picture.onload = () => {
      const canvas = Object.assign(document.createElement("canvas"), { width: picture.width, height: picture.height });
      const pen = canvas.getContext("2d", { willReadFrequently: true });
      pen.drawImage(picture, 0, 0);
      held.set(key, { width: picture.width, height: picture.height, bytes: pen.getImageData(0, 0, picture.width, picture.height).data });
      delete window.NUMBERS[key];
      point();
    };
    document.head.append(script);
    return null;
  }
  function numberAt(key, x, y) {
    const map = key && numbers(key);
    if (!map) return null;
    const place = 4 * (Math.min(map.height - 1, Math.floor(y * map.height)) * map.width + Math.min(map.width - 1, Math.floor(x * map.width)));
    return map.bytes[place] + 256 * map.bytes[place + 1];
  }

  /* Say in every panel what is under the pointer. */
  function point() {
    panels.classList.toggle("pointed", pointed !== null);
    if (!pointed) return;
    panels.style.setProperty("--px", pointed.x);
    panels.style.setProperty("--py", pointed.y);
    const x = (pointed.x - look.x) / look.k, y = (pointed.y - look.y) / look.k;
    const figures = [...panels.children], truth = numberAt(figures[1]?.looked?.numbers, x, y);
    for (const figure of figures) {
      const tag = figure.querySelector(".tag"), number = numberAt(figure.looked?.numbers, x, y);
      if (tag) tag.value = number === null || truth === null ? "" : figure.looked.says(number, truth);
    }
  }

  const within = (event) => {
    const box = event.target.closest?.(".stack")?.getBoundingClientRect();
    return box && { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height, box };
  };
  panels.addEventListener("wheel", (event) => {
    const about = within(event);
    if (!about || event.ctrlKey) return;
    if (zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), about)) event.preventDefault(); // else the page scrolls
  }, { passive: false });
  panels.addEventListener("pointerdown", (event) => {
    const here = within(event);
    if (!here) return;
    pointed = here;
    point();
    fingers.set(event.pointerId, event);
    if (event.pointerType !== "touch") event.target.setPointerCapture(event.pointerId);
  });
  panels.addEventListener("pointermove", (event) => {
    const here = within(event), before = fingers.get(event.pointerId);
    if (!here) return;
    pointed = here;
    if (!before) return point();
    const other = [...fingers.values()].find((one) => one.pointerId !== event.pointerId);
    const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY);
    fingers.set(event.pointerId, event);
    if (other) zoom(apart(event) / Math.max(1, apart(before)), here);
    else move((event.clientX - before.clientX) / here.box.width, (event.clientY - before.clientY) / here.box.height);
  });
  for (const ended of ["pointerup", "pointercancel"]) addEventListener(ended, (event) => fingers.delete(event.pointerId));
  panels.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") { pointed = null; point(); } });

  const step = 0.1, acts = { "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: whole };
  const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
  document.addEventListener("keydown", (event) => {
    const typed = event.target.closest("select, textarea, input:not([type=radio]):not([type=checkbox]):not([type=range])");
    if (typed || event.ctrlKey || event.altKey || event.metaKey) return;
    const act = acts[event.key] ?? (event.shiftKey && moves[event.key] && (() => move(...moves[event.key])));
    if (!act) return;
    event.preventDefault();
    act();
  });
  for (const [id, act] of Object.entries({ closer: acts["+"], farther: acts["-"], whole })) document.getElementById(id).addEventListener("click", act);

  /* For the address: "k,x,y", empty where all is seen; and back. */
  window.LOOK = {
    told: () => (look.k > 1 ? [look.k, look.x, look.y].map((value) => +value.toFixed(3)).join(",") : ""),
    set(words) {
      const [k, x, y] = (words ?? "").split(",").map(Number);
      Object.assign(look, [k, x, y].every(Number.isFinite) ? { k, x, y } : { k: 1, x: 0, y: 0 });
      apply();
    },
    shown: point,
  };
})();
