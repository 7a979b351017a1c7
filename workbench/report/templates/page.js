"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");
  const payload = JSON.parse(document.getElementById("payload").textContent);
  const preference = window.matchMedia("(prefers-color-scheme: dark)");
  const views = new Map();
  let chosen = [];

  for (const chart of Object.values(payload.charts)) {
    for (const [name, { keys, rows }] of Object.entries(chart.data)) {
      chart.spec.datasets[name] = rows.map((row) =>
        Object.fromEntries(keys.map((key, place) => [key, row[place]]).filter(([, value]) => value !== null)),
      );
    }
  }

  const isDark = () => root.classList.contains("dark") || (preference.matches && !root.classList.contains("light"));

  // Small multiples go side by side as often as there is room; everything else follows its container.
  function columnsOf(chart, figure) {
    if (!chart.panel) return 0;
    const axis = 70, spacing = chart.spec.spacing;
    const room = figure.querySelector(".scroll").clientWidth - axis + spacing;
    return Math.max(1, Math.min(chart.spec.columns, Math.floor(room / (chart.panel + spacing))));
  }

  async function draw(figure) {
    const chart = payload.charts[figure.id];
    const place = figure.querySelector(".live");
    const dark = isDark();
    const columns = columnsOf(chart, figure);
    const before = views.get(figure);
    if (before && before.dark === dark && before.columns === columns) return;
    views.set(figure, { dark, columns, result: before && before.result });
    const spec = columns ? { ...chart.spec, columns } : chart.spec;
    try {
      const result = await vegaEmbed(place, spec, {
        mode: "vega-lite",
        renderer: JSON.stringify(spec).length > 200000 ? "canvas" : "svg",
        config: payload.themes[dark ? "dark" : "light"],
        tooltip: { theme: dark ? "dark" : "light" },
        actions: false,
      });
      if (before && before.result) before.result.finalize();
      views.set(figure, { dark, columns, result });
      highlight(result.view);
      place.dataset.state = "drawn";
    } catch (error) {
      place.dataset.state = "failed";
      place.textContent = "This chart could not be drawn: " + error.message;
      console.error(figure.id, error);
    }
  }

  const highlight = (view) => view.signal("chosen", chosen).runAsync();

  function choose(names) {
    chosen = names;
    for (const { result } of views.values()) if (result) highlight(result.view);
    for (const chip of document.querySelectorAll(".chip[data-group]")) {
      chip.setAttribute("aria-pressed", String(chosen.includes(chip.dataset.group)));
    }
    for (const row of document.querySelectorAll("tr[data-group]")) {
      row.classList.toggle("faded", chosen.length > 0 && !chosen.includes(row.dataset.group));
    }
    document.querySelector(".chips").classList.toggle("choosing", chosen.length > 0);
    document.getElementById("clear").hidden = chosen.length === 0;
  }

  for (const chip of document.querySelectorAll(".chip[data-group]")) {
    chip.addEventListener("click", () => {
      const name = chip.dataset.group;
      choose(chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name]);
    });
  }
  document.getElementById("clear").addEventListener("click", () => choose([]));

  async function save(figure, kind) {
    await draw(figure);
    const { view } = views.get(figure).result;
    const ground = view.background();
    view.background(getComputedStyle(document.body).backgroundColor);
    const link = document.createElement("a");
    link.href = await view.toImageURL(kind, kind === "png" ? 2 : 1);
    link.download = figure.id + "." + kind;
    view.background(ground);
    link.click();
  }
  for (const button of document.querySelectorAll("button[data-save]")) {
    button.addEventListener("click", () => save(button.closest("figure"), button.dataset.save));
  }

  const figures = [...document.querySelectorAll("figure")];
  const redraw = () => figures.filter((one) => views.has(one)).forEach(draw);
  document.getElementById("theme").addEventListener("click", () => {
    const dark = !isDark();
    root.classList.toggle("dark", dark);
    root.classList.toggle("light", !dark);
    redraw();
  });
  preference.addEventListener("change", redraw);
  let waiting;
  window.addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(redraw, 150);
  });
  window.addEventListener("beforeprint", () => figures.forEach(draw));

  // Only what comes near the window is drawn: a study may have many charts.
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) {
          watcher.unobserve(entry.target);
          draw(entry.target);
        }
      }
    },
    { rootMargin: "800px" },
  );
  figures.forEach((one) => watcher.observe(one));

  const numeric = (text) => parseFloat(text.replaceAll(",", "").replace("−", "-"));
  for (const table of document.querySelectorAll("table.sheet")) {
    const heads = [...table.querySelectorAll("thead th")];
    heads.forEach((head, column) => {
      const button = head.querySelector(".sort");
      if (!button) return;
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "descending";
        heads.forEach((one) => one.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "ascending" : "descending");
        const rows = [...table.tBodies[0].rows];
        const key = (row) => row.cells[column].textContent.trim();
        const sign = down ? 1 : -1;
        rows.sort((one, other) => {
          const [a, b] = [numeric(key(one)), numeric(key(other))];
          if (column === 0) return sign * key(one).localeCompare(key(other));
          if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
          return sign * (a - b);
        });
        table.tBodies[0].append(...rows);
      });
    });
  }
})();
