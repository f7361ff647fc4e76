// Heat maps and line charts on canvas, in the colors of the style sheet.
"use strict";
const Charts = (() => {
  const FONT = "12px system-ui, sans-serif";
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const rgb = (hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));

  // The color at share 0..1 of a list of colors.
  function mixed(colors, share) {
    const place = Math.min(Math.max(share, 0), 1) * (colors.length - 1);
    const k = Math.min(Math.floor(place), colors.length - 2), part = place - k;
    return colors[k].map((v, j) => v + part * (colors[k + 1][j] - v));
  }

  const ramp = (kind) => [0, 1, 2].map((k) => rgb(css(`--${kind}-${k}`)));

  function surface(canvas, height) {
    const width = canvas.clientWidth || canvas.parentElement.clientWidth;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
    const ctx = canvas.getContext("2d");
    ctx.scale(ratio, ratio);
    ctx.font = FONT;
    return {ctx, width, height};
  }

  function write(ctx, text, x, y, {align = "left", color = "--muted", base = "middle"} = {}) {
    ctx.fillStyle = color.startsWith("--") ? css(color) : color;
    ctx.textAlign = align;
    ctx.textBaseline = base;
    ctx.fillText(text, x, y);
  }

  function rule(ctx, x1, y1, x2, y2, color, dash = [], width = 1) {
    ctx.save();
    ctx.strokeStyle = color.startsWith("--") ? css(color) : color;
    ctx.lineWidth = width;
    ctx.setLineDash(dash);
    ctx.beginPath();
    ctx.moveTo(x1, y1);
    ctx.lineTo(x2, y2);
    ctx.stroke();
    ctx.restore();
  }

  const shortened = (text, n) => text.length > n ? `${text.slice(0, n - 1)}\u2026` : text;

  // Labels of words below an axis, at an angle, as many as fit.
  function wordLabels(ctx, words, toX, y, selected) {
    const every = Math.max(1, Math.ceil(15 / (toX(1) - toX(0))));
    words.forEach((word, t) => {
      const isSelected = t === selected;
      if (!isSelected && (t % every || Math.abs(t - selected) < every)) return;
      ctx.save();
      ctx.translate(toX(t + 0.5) + 3, y + 5);
      ctx.rotate(-Math.PI / 3.2);
      if (isSelected) ctx.font = `bold ${FONT}`;
      const color = isSelected ? "--ink" : "--muted";
      write(ctx, shortened(word, 12), 0, 0, {align: "right", color});
      ctx.restore();
    });
  }

  const LEFT = 52;

  // The picture of a heat map, one pixel a value; it is kept until what it shows changes.
  const pictures = new WeakMap();

  function imageOf(canvas, {steps, gate, order, kind, limit, isSpread}) {
    const colors = ramp(kind), rows = order.length, T = steps.length;
    const key = [gate, limit, isSpread, colors, order].join(), known = pictures.get(canvas);
    if (known && known.steps === steps && known.key === key) return known.image;
    const shareOf = kind !== "gate" ? (v) => 0.5 + v / (2 * limit)
      : isSpread ? (v) => 0.5 + Math.log((v + 1e-6) / (1 - v + 1e-6)) / 14 : (v) => v;
    const image = document.createElement("canvas"), pixels = new ImageData(T, rows);
    order.forEach((unit, row) => steps.forEach((step, t) => {
      pixels.data.set([...mixed(colors, shareOf(step[gate][unit])), 255], 4 * (row * T + t));
    }));
    image.width = T;
    image.height = rows;
    image.getContext("2d").putImageData(pixels, 0, 0);
    pictures.set(canvas, {steps, key, image});
    return image;
  }

  // steps[t][gate][unit] with rows in the order of `order`. Returns place(x, y) -> {step, unit}.
  // Gates have colors from 0 to 1, or of their logits, which spreads values near 0 and 1; others
  // from -limit to limit.
  function heatMap(canvas, {steps, gate, order, kind, limit, isSpread, words, selection, ends}) {
    const rows = order.length, T = steps.length, plot = Math.max(80, Math.min(128, rows * 2));
    const {ctx, width} = surface(canvas, plot + (words ? 66 : 4));
    const image = imageOf(canvas, {steps, gate, order, kind, limit, isSpread});
    const across = width - LEFT - 1, toX = (t) => LEFT + t * across / T;
    ctx.imageSmoothingEnabled = false;
    ctx.drawImage(image, LEFT, 1, across, plot);
    write(ctx, ends[0], LEFT - 6, 8, {align: "right"});
    write(ctx, ends[1], LEFT - 6, plot - 5, {align: "right"});
    write(ctx, "unit", LEFT - 6, plot / 2, {align: "right"});
    ctx.strokeStyle = css("--line");
    ctx.strokeRect(LEFT, 1, across, plot);
    ctx.strokeStyle = css("--ink");
    const row = order.indexOf(selection.unit), high = plot / rows;
    ctx.strokeRect(toX(selection.step), 1, Math.max(across / T, 2), plot);
    ctx.strokeRect(LEFT, 1 + row * high, across, Math.max(high, 2));
    if (words) wordLabels(ctx, words, toX, plot + 3, selection.step);
    return (x, y) => ({
      step: Math.min(Math.max(Math.floor((x - LEFT) * T / across), 0), T - 1),
      unit: order[Math.min(Math.max(Math.floor((y - 1) / high), 0), rows - 1)],
    });
  }

  // Moves labels apart that would overlap; each has {y}.
  function spread(labels, least, top, bottom) {
    labels.sort((a, b) => a.y - b.y);
    labels.forEach((label, k) => {
      label.y = Math.max(label.y, k ? labels[k - 1].y + least : top);
    });
    for (let k = labels.length - 1; k >= 0; k--) {
      labels[k].y = Math.min(labels[k].y, k < labels.length - 1 ? labels[k + 1].y - least : bottom);
    }
  }

  // options: {height, x, y, series, marks, cursor, words}; an axis is {min, max, label, ticks:
  // [[value, text]], scale}, scale a monotone function; a series is {points: [[x, y]], color,
  // label, dash, width, dots}; a mark is a vertical line {at, label, color}.
  function lineChart(canvas, options) {
    const {x, y, series, marks = [], cursor = null, words = null} = options;
    const {ctx, width, height} = surface(canvas, options.height);
    const named = series.filter((line) => line.label && line.points.length);
    const widest = Math.max(8, ...named.map((line) => ctx.measureText(line.label).width + 10));
    const box = {left: LEFT, right: width - widest, top: 22, bottom: height - (words ? 66 : 40)};
    const scaled = (axis, from, to) => {
      const f = axis.scale || ((v) => v), low = f(axis.min), high = f(axis.max);
      return (v) => from + (to - from) * (f(v) - low) / (high - low || 1);
    };
    const toX = scaled(x, box.left, box.right), toY = scaled(y, box.bottom, box.top);
    let lastEnd = -Infinity;
    for (const [value, text] of x.ticks || []) {
      rule(ctx, toX(value), box.top, toX(value), box.bottom + 4, "--line");
      const half = ctx.measureText(text).width / 2;
      if (toX(value) - half < lastEnd + 6) continue;
      lastEnd = toX(value) + half;
      write(ctx, text, toX(value), box.bottom + 13, {align: "center"});
    }
    for (const [value, text] of y.ticks) {
      rule(ctx, box.left, toY(value), box.right, toY(value), "--line");
      write(ctx, text, box.left - 6, toY(value), {align: "right"});
    }
    rule(ctx, box.left, box.bottom, box.right, box.bottom, "--muted");
    write(ctx, y.label, 4, 8);
    if (!words) write(ctx, x.label, (box.left + box.right) / 2, height - 9, {align: "center"});
    else wordLabels(ctx, words, (t) => toX(t - 0.5), box.bottom + 3, cursor === null ? -1 : cursor);
    if (cursor !== null) rule(ctx, toX(cursor), box.top, toX(cursor), box.bottom, "--ink");
    for (const line of series) drawLine(ctx, line, toX, toY, box);
    const labels = named.map((line) => {
      const end = toY(line.points[line.points.length - 1][1]);
      return {...line, y: Math.min(Math.max(end, box.top), box.bottom)};
    });
    spread(labels, 14, box.top, box.bottom);
    for (const {label, color, y: at} of labels) {
      write(ctx, label, box.right + 6, at, {color: color.startsWith("--") ? color : "--ink"});
      ctx.fillStyle = color.startsWith("--") ? css(color) : color;
      ctx.fillRect(box.right + 1, at - 4, 3, 8);
    }
    marks.filter((mark) => mark.at >= x.min && mark.at <= x.max).forEach((mark, k) => {
      rule(ctx, toX(mark.at), box.top, toX(mark.at), box.bottom, mark.color, [4, 3], 1.5);
      const size = ctx.measureText(mark.label).width, right = toX(mark.at) + 5;
      const at = right + size < box.right ? right : Math.max(box.left + 2, right - size - 10);
      const y = box.bottom - 11 - 17 * k;
      ctx.fillStyle = css("--paper");
      ctx.fillRect(at - 1, y - 8, size + 2, 16);
      write(ctx, mark.label, at, y, {color: "--ink"});
    });
    return (px) => (px - box.left) / (box.right - box.left) * (x.max - x.min) + x.min;
  }

  // Whether a color, such as that of the class "white", might be lost on the paper.
  function isFaint(ctx, color) {
    if (color.startsWith("--")) return false;
    ctx.fillStyle = color;
    const lightness = (hex) => rgb(hex).reduce((sum, v) => sum + v, 0) / 765;
    return Math.abs(lightness(ctx.fillStyle) - lightness(css("--paper"))) < 0.15;
  }

  function drawLine(ctx, line, toX, toY, box) {
    const stroke = (color, width) => {
      ctx.save();
      ctx.beginPath();
      ctx.rect(box.left - 3, box.top - 4, box.right - box.left + 6, box.bottom - box.top + 8);
      ctx.clip();
      ctx.strokeStyle = color.startsWith("--") ? css(color) : color;
      ctx.fillStyle = ctx.strokeStyle;
      ctx.lineWidth = width;
      ctx.lineJoin = "round";
      ctx.setLineDash(line.dash || []);
      ctx.beginPath();
      for (const [a, b] of line.points) ctx.lineTo(toX(a), toY(b));
      ctx.stroke();
      if (line.dots) line.points.forEach(([a, b]) => {
        ctx.beginPath();
        ctx.arc(toX(a), toY(b), 2.6, 0, 7);
        ctx.fill();
      });
      ctx.restore();
    };
    if (isFaint(ctx, line.color)) stroke("--muted", (line.width || 2) + 2);
    stroke(line.color, line.width || 2);
  }

  // Ticks at powers of ten between two positive numbers, at most about six.
  function powers(low, high) {
    const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
    const every = Math.max(1, Math.ceil((last - first) / 6)), found = [];
    for (let k = last; k >= first; k -= every) found.push([10 ** k, k === 0 ? "1" : `1e${k}`]);
    return found;
  }

  // Round ticks from 0 or `low` to `high`.
  function linear(low, high, count = 6) {
    const raw = (high - low) / count || 1, ten = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((k) => k * ten).find((k) => k >= raw), found = [];
    for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + 1e-9; v += step) {
      found.push([v, String(Number(v.toFixed(6)))]);
    }
    return found;
  }

  return {css, heatMap, lineChart, linear, powers};
})();
