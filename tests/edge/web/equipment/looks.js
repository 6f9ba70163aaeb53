// What tests ask of the page as it is shown.

const fps = () => document.querySelector("#chart-fps canvas");

// What is shown, small, as text; null where that is black or nothing.
function picture() {
  const shown = document.querySelector("#picture :is(canvas, video)");
  if (!shown) return null;
  const small = new OffscreenCanvas(48, 27).getContext("2d");
  small.drawImage(shown, 0, 0, 48, 27);
  const pixels = [...small.getImageData(0, 0, 48, 27).data];
  return pixels.every((value, i) => i % 4 === 3 || value === 0) ? null : pixels.join();
}

// How many colours a chart has; its axes and their text alone have few.
function painted(id) {
  const canvas = document.querySelector(`#${id} canvas`);
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const colours = new Set();
  for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 60) colours.add(data.slice(i, i + 4).join());
  return colours.size;
}

// What a screen reader has no name for.
function unnamed() {
  const parts = [...document.querySelectorAll("button, input, canvas, a, img, video, fieldset")];
  return parts.filter((one) => one.checkVisibility() && !(
    one.ariaLabel || one.textContent.trim() || one.title || one.hasAttribute("alt") || one.labels?.length
  )).map((one) => one.outerHTML);
}

const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);

// The relative luminance of WCAG 2.
const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);

function ground(one) {
  for (let at = one; at; at = at.parentElement) {
    const colour = numbers(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
}

// Text with less contrast than the 4.5 of WCAG 2, level AA.
function faint() {
  const found = [];
  for (const one of document.querySelectorAll("body *")) {
    const text = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!text || !one.checkVisibility() || one.closest(":disabled, .unseen, noscript")) continue;
    const [a, b] = [numbers(getComputedStyle(one).color), ground(one)].map(luminance);
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) found.push(`${one.textContent.trim()}: ${contrast.toFixed(2)}`);
  }
  return found;
}

// Height of the lowest thing that a finger is to meet, px.
function lowest() {
  const parts = [...document.querySelectorAll(".tools button, .chips button, .switches label")];
  return Math.min(...parts.filter((one) => one.checkVisibility()).map((one) => one.offsetHeight));
}

// The classes of the boxes on the next 30 frames.
const found = () => new Promise((done) => {
  const events = new EventSource("/api/events");
  const names = new Set();
  let frames = 0;
  events.onmessage = ({ data }) => {
    for (const box of JSON.parse(data).detections ?? []) names.add(box.class);
    if (++frames < 30) return;
    events.close();
    done([...names].sort());
  };
});

Object.assign(window, { found, fps, lowest, picture, painted, unnamed, faint });
