// The timeline and the console beside it. The page's data: tracer/html/chart.py; the drawing: plotly.js.
"use strict";
{
  const data = JSON.parse(document.getElementById("data").textContent);
  const chart = document.getElementById("chart");
  const list = document.getElementById("console");
  const items = list ? [...list.querySelectorAll("li:not(.left-out)")] : [];
  const said = document.getElementById("mark");
  const rows = document.getElementById("rows");
  const measure = document.getElementById("measure");
  const touch = matchMedia("(pointer: coarse)").matches;
  const state = { from: 0, to: data.end, mark: null, line: -1, hovered: -1 };

  const paused = data.phases.some(([, , , , kind]) => kind === "pause");

  // Running sums over all bins, so that any column of any zoom is one subtraction.
  const densities = data.densities.map(({ title, width, rows }) => {
    const bins = Math.ceil(data.end / width) + 1;
    return {
      title, width, bins,
      rows: rows.map((row) => ({ name: row.name, exits: sums(row, row.exits, bins), ns: sums(row, row.ns, bins) })),
    };
  });

  function sums(row, values, bins) {
    const all = new Float64Array(bins + 1);
    let bin = 0;
    row.bins.forEach((step, index) => {
      bin += step;
      all[Math.min(bin, bins - 1) + 1] += values[index];
    });
    for (let at = 1; at <= bins; at++) all[at] += all[at - 1];
    return all;
  }

  // Text for plotly.js, which reads a little HTML.
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const cut = (text, length) => (text.length > length ? text.slice(0, length - 1) + "\u2026" : text);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

  const scaled = (ns) => [["s", 1e9], ["ms", 1e6], ["us", 1e3]].find(([, scale]) => ns >= scale) ?? ["ns", 1];

  function duration(ns) {
    const [unit, scale] = scaled(ns);
    return `${scale === 1 ? Math.round(ns) : (ns / scale).toPrecision(3)} ${unit}`;
  }

  const amount = (value) => (measure.value === "ns" ? duration(value) : value.toLocaleString("en") + " exits");

  // Columns of the view: whole bins, about three pixels or more each.
  function columns(density) {
    const wanted = Math.max(60, Math.floor(chart.clientWidth / 3));
    const step = Math.max(1, Math.ceil((state.to - state.from) / density.width / wanted));
    const first = Math.floor(state.from / density.width / step) * step;
    const edges = [];
    for (let bin = first; ; bin += step) {
      edges.push(Math.min(bin, density.bins));
      if (bin * density.width >= state.to || bin >= density.bins) break;
    }
    return { edges, width: step * density.width };
  }

  function draw() {
    const density = densities[Number(rows.value) || 0];
    if (!density) return;
    const narrow = chart.clientWidth < 500;
    const { edges, width } = columns(density);
    const x = edges.map((bin) => (bin * density.width) / 1e9);
    const counts = density.rows.map((row) =>
      edges.slice(1).map((bin, index) => row[measure.value][bin] - row[measure.value][edges[index]]));
    const total = edges.slice(1).map((_, column) => counts.reduce((sum, row) => sum + row[column], 0));
    const highest = counts.reduce((most, row) => row.reduce((a, b) => Math.max(a, b), most), 1);
    const names = density.rows.map((row) => plain(cut(row.name, narrow ? 14 : 28)));
    const most = total.reduce((a, b) => Math.max(a, b), 0);
    const [unit, per] = measure.value === "ns" ? scaled(most) : ["", 1];
    const ink = colour("ink");
    const traces = [
      {
        type: "heatmap", x, y: names.map((_, index) => index), zmin: 0, zmax: Math.log10(highest) || 1,
        z: counts.map((row) => row.map((count) => (count > 0 ? Math.log10(Math.max(count, 1)) : null))),
        text: counts.map((row) => row.map((count) => amount(count))),
        customdata: counts.map((row, index) => row.map(() => names[index])),
        hovertemplate: "%{customdata}: %{text}<extra></extra>", showscale: false, xgap: 0, ygap: 2,
        colorscale: [[0, colour("low")], [0.55, colour("middle")], [1, colour("high")]],
      },
      {
        type: "scatter", mode: "lines", x, y: [...total, 0].map((value) => value / per), yaxis: "y2",
        line: { shape: "hv", width: 1, color: colour("middle") }, fill: "tozeroy", showlegend: false,
        text: [...total, 0].map((value) => "all: " + amount(value)), hovertemplate: "%{text}<extra></extra>",
      },
      {
        type: "bar", orientation: "h", yaxis: "y3", y: data.phases.map(() => 0),
        width: data.phases.map(([, , , , kind]) => (kind === "wait" ? 0.55 : 1)), showlegend: false,
        base: data.phases.map(([start]) => start / 1e9), x: data.phases.map(([start, end]) => (end - start) / 1e9),
        marker: {
          color: data.phases.map(([, , , , kind]) => colour(kind)),
          line: { width: 0.5, color: colour("page") },
        },
        text: data.phases.map(([, , length, text]) => `${duration(length)}: ${plain(cut(text, 70))}`),
        textposition: "none", hovertemplate: "%{text}<extra></extra>",
      },
    ];
    const height = 170 + Math.min(Math.max(26, 250 / density.rows.length), narrow ? 30 : 44) * density.rows.length;
    const part = (pixels) => pixels / (height - 34);
    const axis = { fixedrange: true, zeroline: false, gridcolor: colour("rule"), color: ink };
    const layout = {
      width: chart.clientWidth, height: Math.max(height, 260), margin: { l: 10, r: 8, t: 4, b: 30 }, hovermode: "closest", showlegend: false,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", dragmode: touch ? false : "zoom", bargap: 0, barmode: "overlay",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink },
      hoverlabel: { bgcolor: colour("panel"), bordercolor: colour("soft"), font: { color: ink }, align: "left" },
      xaxis: {
        range: [state.from / 1e9, state.to / 1e9], ticksuffix: " s", color: ink, gridcolor: colour("rule"), nticks: 8,
        zeroline: false, showspikes: true, spikemode: "across", spikesnap: "cursor", spikethickness: 1,
        spikecolor: colour("soft"), spikedash: "dot", anchor: "y",
      },
      yaxis: {
        ...axis, domain: [0, Math.max(1 - part(110), 0.3)], tickvals: names.map((_, index) => index), ticktext: names,
        autorange: "reversed", automargin: true, showgrid: false,
      },
      yaxis2: {
        ...axis, domain: [1 - part(72), 1], rangemode: "tozero", nticks: 4, automargin: true, tickformat: unit ? "" : most < 1000 ? "d" : "~s",
        dtick: unit || most > 4 ? null : 1,
        ticksuffix: unit && " " + unit,
      },
      yaxis3: { ...axis, domain: [1 - part(98), 1 - part(82)], showticklabels: false, showgrid: false, range: [-0.5, 0.5] },
      shapes: shapes(),
    };
    Plotly.react(chart, traces, layout, { displayModeBar: false, doubleClick: false });
    document.getElementById("scale").textContent =
      `Top: all exits. Strip: phases (grey)${paused ? ", pauses (violet)" : ""} and the longest waits for a console line (amber). Below: by ${density.title}; ` +
      `${isDark() ? "brighter" : "darker"} means more, on a logarithmic scale, up to ${amount(highest)} in ` +
      `a column of ${duration(width)}.`;
  }

  const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches &&
    !document.documentElement.classList.contains("printing");

  function shapes() {
    if (state.mark === null) return [];
    const x = state.mark / 1e9;
    return [{ type: "line", xref: "x", yref: "paper", x0: x, x1: x, y0: 0, y1: 1,
      line: { color: colour("accent"), width: 2 } }];
  }

  // The line being printed at a time: the last that had begun.
  function lineAt(t) {
    let low = 0;
    let high = data.lines.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (data.lines[middle] <= t) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  // Scrolls the console only, never the page.
  function reveal(item) {
    const above = item.offsetTop - list.scrollTop;
    if (above < 0 || above + item.offsetHeight > list.clientHeight) {
      list.scrollTop = item.offsetTop - list.clientHeight / 3;
    }
  }

  function hover(line) {
    if (line === state.hovered) return;
    items[state.hovered]?.classList.remove("at");
    state.hovered = line;
    if (items[line]) {
      items[line].classList.add("at");
      reveal(items[line]);
    }
  }

  function mark(t, line = lineAt(t)) {
    items[state.line]?.setAttribute("aria-selected", "false");
    state.mark = t;
    state.line = line;
    const item = items[line];
    if (item) {
      item.setAttribute("aria-selected", "true");
      list.setAttribute("aria-activedescendant", item.id);
      reveal(item);
    } else if (list) {
      list.removeAttribute("aria-activedescendant");
    }
    const text = item ? item.lastChild.textContent : "nothing printed yet";
    said.textContent = `${(t / 1e9).toFixed(6)} s: ${text}`;
    if (t < state.from || t > state.to) {
      const half = (state.to - state.from) / 2;
      view(t - half, t + half);
    } else if (densities.length) {
      Plotly.relayout(chart, { shapes: shapes() });
    }
  }

  function view(from, to) {
    const finest = densities.length ? 8 * densities[Number(rows.value) || 0].width : 1000;
    const span = Math.min(Math.max(to - from, Math.min(finest, data.end)), data.end);
    const middle = (from + to) / 2;
    state.from = Math.min(Math.max(middle - span / 2, 0), data.end - span);
    state.to = state.from + span;
    draw();
  }

  function zoom(factor) {
    const seen = state.mark !== null && state.mark >= state.from && state.mark <= state.to;
    const middle = seen ? state.mark : (state.from + state.to) / 2;
    const half = ((state.to - state.from) * factor) / 2;
    view(middle - half, middle + half);
  }

  const move = (share) => view(state.from + share * (state.to - state.from), state.to + share * (state.to - state.from));
  const actions = {
    in: () => zoom(0.4), out: () => zoom(2.5), back: () => move(-0.5), on: () => move(0.5),
    whole: () => view(0, data.end),
  };

  // To a line: it and the wait after it, with a margin.
  function zoomTo(line) {
    const start = data.lines[line];
    const length = (data.lines[line + 1] ?? data.end) - start;
    view(start - length / 2 - 2e6, start + 1.5 * length + 2e6);
  }

  rows.append(...densities.map(({ title }, index) => new Option(title, index)));
  rows.parentElement.hidden = densities.length < 2;
  rows.addEventListener("change", draw);
  measure.addEventListener("change", draw);
  for (const button of document.querySelectorAll("[data-do]")) {
    button.addEventListener("click", actions[button.dataset.do]);
  }
  for (const button of document.querySelectorAll("[data-from]")) {
    button.addEventListener("click", () => {
      const [from, length] = [Number(button.dataset.from), Number(button.dataset.length)];
      view(from - length / 4, from + 1.25 * length);
      mark(from);
      document.querySelector(".timeline").scrollIntoView();
    });
  }
  chart.addEventListener("keydown", (event) => {
    const name = { "+": "in", "=": "in", "-": "out", ArrowLeft: "back", ArrowRight: "on", 0: "whole" }[event.key];
    if (!name || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    actions[name]();
  });

  if (list) {
    list.setAttribute("role", "listbox");
    list.querySelector(".left-out")?.setAttribute("role", "presentation");
    items.forEach((item, index) => {
      item.id = `line-${index}`;
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", "false");
    });
    list.addEventListener("click", (event) => {
      const line = items.indexOf(event.target.closest("li"));
      if (line >= 0) mark(data.lines[line], line);
    });
    list.addEventListener("dblclick", () => zoomTo(state.line));
    list.addEventListener("keydown", (event) => {
      const to = { ArrowUp: state.line - 1, ArrowDown: state.line + 1, PageUp: state.line - 20,
        PageDown: state.line + 20, Home: 0, End: items.length - 1 }[event.key];
      if (event.key === "Enter" && state.line >= 0) zoomTo(state.line);
      else if (to === undefined) return;
      else {
        const line = Math.min(Math.max(to, 0), items.length - 1);
        mark(data.lines[line], line);
      }
      event.preventDefault();
    });
  }

  if (densities.length) {
    draw();
    // Where the pointer is, to the ns, rather than the middle of the column that it is in.
    const time = (event) => Math.min(Math.max((event.xvals?.[0] ?? event.points[0].x) * 1e9, 0), data.end);
    chart.on("plotly_hover", (event) => hover(lineAt(time(event))));
    chart.on("plotly_unhover", () => hover(-1));
    chart.on("plotly_click", (event) => mark(time(event)));
    chart.on("plotly_doubleclick", actions.whole);
    chart.on("plotly_relayout", (change) => {
      const [from, to] = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
      if (from !== undefined && to !== undefined) view(from * 1e9, to * 1e9);
    });
    let width = chart.clientWidth;
    new ResizeObserver(() => {
      if (width === chart.clientWidth) return;
      width = chart.clientWidth;
      draw();
    }).observe(chart);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    const printing = (on) => {
      document.documentElement.classList.toggle("printing", on);
      draw();
    };
    addEventListener("beforeprint", () => printing(true));
    addEventListener("afterprint", () => printing(false));
  } else {
    chart.textContent = "The trace has no exits.";
  }
}
