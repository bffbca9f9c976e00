// Draws the page's pictures from the numbers in the file, and reads a value where the pointer or the cursor keys are.
// In: the JSON in #data { figures, palettes, tokens }. Out: pixels, and one sentence in #reading. Makes no request.
'use strict';

const { figures, palettes, tokens } = JSON.parse(document.getElementById('data').textContent);
const dark = matchMedia('(prefers-color-scheme: dark)');
const canvases = [...document.querySelectorAll('canvas[data-figure]')];
const reading = document.getElementById('reading');

const figureOf = (canvas) => figures[Number(canvas.dataset.figure)];
const numRows = (figure) => figure.values.length / figure.columns;
const palette = (figure) => palettes[dark.matches ? 'dark' : 'light'][figure.scale];

function draw(canvas) {
  const box = canvas.getBoundingClientRect();
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(box.width * scale));
  canvas.height = Math.max(1, Math.round(box.height * scale));
  const figure = figureOf(canvas);
  if (canvas.classList.contains('bars')) drawBars(canvas, figure);
  else drawCells(canvas, figure);
}

// One pixel a value, then enlarged with hard edges, or made smaller by averaging neighbours.
function drawCells(canvas, figure) {
  const cells = document.createElement('canvas');
  cells.width = figure.columns;
  cells.height = numRows(figure);
  const image = new ImageData(cells.width, cells.height);
  const hidden = new Set(figure.hidden);
  const isEmpty = (value, index) => hidden.has(index) || (figure.scale === 'share' && value === 0);
  figure.values.forEach((value, index) => {
    if (!isEmpty(value, index)) image.data.set([...colour(figure, value), 255], 4 * index);
  });
  cells.getContext('2d').putImageData(image, 0, 0);
  const context = canvas.getContext('2d');
  context.imageSmoothingEnabled = canvas.width < cells.width;
  context.imageSmoothingQuality = 'high';
  context.drawImage(cells, 0, 0, canvas.width, canvas.height);
}

// Up is positive, down negative; the longest bar takes the whole height.
function drawBars(canvas, figure) {
  const context = canvas.getContext('2d');
  const high = Math.max(0, ...figure.values);
  const low = Math.min(0, ...figure.values);
  const unit = canvas.height / (high - low || 1);
  const zero = high * unit;
  const width = canvas.width / figure.columns;
  figure.values.forEach((value, column) => {
    context.fillStyle = `rgb(${colour(figure, Math.sign(value) * figure.limit * 0.6)})`;
    context.fillRect(column * width, Math.min(zero, zero - value * unit), Math.max(1, width - 1), Math.abs(value * unit));
  });
  context.fillStyle = getComputedStyle(document.body).getPropertyValue('--rule-2');
  context.fillRect(0, Math.min(zero, canvas.height - 1), canvas.width, 1);
}

function colour(figure, value) {
  const colours = palette(figure);
  const place = figure.scale === 'share' ? value : (value / figure.limit + 1) / 2;
  const hex = colours[Math.round(Math.min(1, Math.max(0, place)) * (colours.length - 1))];
  return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
}

// The sentence for one value: the number, its place in the trace, and the tokens that it stands for.
function sentence(figure, row, column) {
  const index = row * figure.columns + column;
  const last = figure.order ? figure.order[column] : column + offset(figure);
  const at = figure.rows ? [...figure.at, figure.rows[row], last] : [last];
  const value = figure.hidden.includes(index) ? 'hidden' : signed(figure.values[index]);
  const place = `${figure.site}[${at.join(', ')}]`;
  if (figure.scale !== 'share') return [value, place];
  return [`${value}, ${tokens[at.at(-2)]} → ${tokens[at.at(-1)]}`, place];
}

// Columns of attention are tokens too, and begin at the same one as the rows.
const offset = (figure) => (figure.scale === 'share' ? figure.rows[0] : 0);
const signed = (value) => (Math.abs(value) < 5e-5 ? '0' : value.toFixed(4).replace('-', '\u2212'));

function show(canvas, row, column) {
  const figure = figureOf(canvas);
  const [value, place] = sentence(figure, row, column);
  reading.replaceChildren(value, Object.assign(document.createElement('span'), { textContent: place }));
  reading.hidden = false;
  const box = canvas.getBoundingClientRect();
  const x = box.left + ((column + 0.5) / figure.columns) * box.width;
  const y = box.top + (row / numRows(figure)) * box.height;
  const size = reading.getBoundingClientRect();
  reading.style.left = `${Math.min(Math.max(4, x - size.width / 2), innerWidth - size.width - 4)}px`;
  reading.style.top = `${y - size.height - 8 < 4 ? box.bottom + 8 : y - size.height - 8}px`;
}

function within(number, count) {
  return Math.min(count - 1, Math.max(0, Math.floor(number)));
}

function onPointer(event) {
  const canvas = event.currentTarget;
  const figure = figureOf(canvas);
  const box = canvas.getBoundingClientRect();
  const column = within(((event.clientX - box.left) / box.width) * figure.columns, figure.columns);
  show(canvas, within(((event.clientY - box.top) / box.height) * numRows(figure), numRows(figure)), column);
}

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

function onKey(event) {
  const step = STEPS[event.key];
  if (!step) return;
  const canvas = event.currentTarget;
  const figure = figureOf(canvas);
  const [row, column] = (canvas.dataset.cursor || '0,-1').split(',').map(Number);
  const next = [within(row + step[0], numRows(figure)), within(column + step[1], figure.columns)];
  canvas.dataset.cursor = next.join();
  show(canvas, ...next);
  event.preventDefault();
}

function leave() {
  reading.hidden = true;
}

for (const canvas of canvases) {
  canvas.addEventListener('pointermove', onPointer);
  canvas.addEventListener('pointerdown', onPointer);
  canvas.addEventListener('pointerleave', leave);
  canvas.addEventListener('keydown', onKey);
  canvas.addEventListener('blur', leave);
}
const redraw = () => canvases.forEach(draw);
dark.addEventListener('change', redraw);
addEventListener('resize', redraw);
redraw();
document.documentElement.dataset.drawn = String(canvases.length);
