/* Draws the charts that stand in the page as JSON, in the page's own colours, and again when light turns to dark. */
"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function looks() {
    const ink = colour("--ink"), quiet = colour("--quiet"), line = colour("--line");
    const font = getComputedStyle(document.body).fontFamily;
    return {
      background: "transparent", font,
      view: { stroke: null },
      axis: { labelColor: quiet, titleColor: quiet, gridColor: line, domainColor: line, tickColor: line, titleFontWeight: 500, labelFontSize: 12, titleFontSize: 12 },
      legend: { labelColor: ink, titleColor: quiet, labelFontSize: 12, titleFontWeight: 500, labelLimit: 260, symbolOpacity: 1, columns: innerWidth < 740 ? 1 : 4 },
      range: {
        category: dark.matches
          ? ["#4cc2b5", "#f0a35e", "#7fb0f0", "#ec96bd", "#d9d36a", "#c39ae4", "#8fd18b", "#b8c4ca"]
          : ["#0b7a70", "#d0661b", "#2f6fb8", "#b8447f", "#8d7a00", "#7a4fa3", "#3f8a3a", "#5a6872"],
      },
    };
  }

  async function one(place) {
    const text = document.getElementById(place.dataset.chart).textContent, spec = JSON.parse(text);
    const renderer = text.length > 100_000 ? "canvas" : "svg"; // thousands of cells are too much for a page's elements
    await vegaEmbed(place, spec, { actions: false, renderer, config: looks(), tooltip: { theme: dark.matches ? "dark" : "light" } });
    place.dataset.drawn = dark.matches ? "dark" : "light";
  }
  /* Those in sight first, the others one by one whenever the page has nothing else to do. */
  async function draw() {
    const places = [...document.querySelectorAll("[data-chart]")];
    const seen = (place) => place.getBoundingClientRect().top < innerHeight;
    for (const place of [...places.filter(seen), ...places.filter((place) => !seen(place))]) {
      await new Promise((rest) => requestIdleCallback(rest, { timeout: 1000 }));
      await one(place);
    }
  }
  dark.addEventListener("change", draw);
  draw();
})();
