// Choosing and framing photos in the browser. Only the framed part leaves it, encoded anew: a canvas
// carries no metadata. What the browser cannot show but may be a photo is sent as it is.
// Gradio calls this text as a function of (element, trigger, props, server, upload, watch).

const MOST_SIDE = 1280; // pixels of a framed photo; the network sees fewer
const MOST_ZOOM = 8;
const photos = []; // views of one lesion: {bitmap or null, raw, zoom, x, y}
let current = 0;
let stream = null;
let looking = false;
let asked = null; // what the server is asked about
let sent = null; // what the finding on the page was made of
let strings = {};

const $ = (selector) => element.querySelector(selector);
const fill = (text, ...values) => values.reduce((t, value) => t.replace("%s", value), text);
const say = (text) => { $("[data-show=status]").textContent = text; };
const complain = (text) => { $("[data-show=problem]").textContent = text; };
const clamp = (value, least = 0, most = 1) => Math.min(most, Math.max(least, value));
const starting = () => ({ zoom: 1, x: 0.5, y: 0.5 });

function square(photo) {
  const { width, height } = photo.bitmap;
  const side = Math.max(1, Math.round(Math.min(width, height) / photo.zoom));
  return { side, left: Math.round((width - side) * photo.x), top: Math.round((height - side) * photo.y) };
}

function draw(canvas, photo) {
  const { side, left, top } = square(photo);
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // behind transparent parts, as on the server
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(photo.bitmap, left, top, side, side, 0, 0, canvas.width, canvas.height);
}

function framed(photo) {
  if (!photo.bitmap) return photo.raw;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = Math.min(MOST_SIDE, square(photo).side);
  draw(canvas, photo);
  return canvas.toDataURL("image/jpeg", 0.95);
}

// A finding says something of the photo and frame that it was made of, and of no other.
const state = () => JSON.stringify(photos.map(({ id, turned, zoom, x, y }) => [id, turned, zoom, x, y]));
function markStale() {
  const finding = document.querySelector(".cc-finding");
  const stale = Boolean(sent) && sent.state !== state();
  finding?.classList.toggle("cc-stale", stale);
  document.querySelector(".cc-stale-note")?.toggleAttribute("hidden", !stale);
}

function show() {
  const photo = photos[current];
  $(".cc-stage").hidden = !photo;
  const look = $("[data-do=look]");
  look.disabled = !photo || looking;
  look.textContent = looking ? strings.looking
    : photos.length > 1 ? fill(strings.look_together, photos.length) : strings.look;
  showStrip();
  markStale();
  if (!photo) return;
  for (const slider of element.querySelectorAll("[data-move]")) {
    slider.disabled = slider.closest("label").hidden = !photo.bitmap;
    slider.value = photo[slider.dataset.move];
  }
  $(".cc-view").hidden = !photo.bitmap;
  if (photo.bitmap) draw($("canvas"), photo);
  showSize(photo);
}

function showSize(photo) {
  const side = photo.bitmap ? square(photo).side : Infinity;
  const few = side < strings.least;
  const advice = few ? ` ${fill(photo.zoom > 1 ? strings.too_few : strings.too_small, strings.least)}` : "";
  $("[data-show=size]").textContent = photo.bitmap ? fill(strings.size, side, side) + advice : strings.whole;
  $("[data-show=size]").classList.toggle("cc-few", few);
}

function showStrip() {
  $(".cc-strip").hidden = photos.length < 2;
  $(".cc-strip").replaceChildren(...photos.map((photo, index) => {
    const item = document.createElement("li");
    const select = document.createElement("button");
    select.type = "button";
    select.className = "cc-thumb";
    select.setAttribute("aria-label", fill(strings.select, index + 1));
    select.setAttribute("aria-pressed", String(index === current));
    const small = document.createElement("canvas");
    small.width = small.height = 56;
    if (photo.bitmap) draw(small, photo);
    select.append(small);
    select.onclick = () => { current = index; show(); $(".cc-strip").children[index].firstChild.focus(); };
    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "cc-remove";
    remove.textContent = "×";
    remove.setAttribute("aria-label", fill(strings.remove, index + 1));
    remove.onclick = () => {
      photos.splice(index, 1);
      current = clamp(current, 0, photos.length - 1);
      show();
      $(photos.length > 1 ? ".cc-thumb" : "#cc-add").focus();
    };
    item.append(select, remove);
    return item;
  }));
}

const asDataUri = (file) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result);
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(file);
});

// What keeps a file from being read, in words; HEIC is for the server to judge.
async function problemOf(file, bitmap) {
  if (!file.size) return strings.empty;
  if (file.size > strings.megabytes * 1024 * 1024) return strings.too_large;
  if (bitmap) return "";
  const start = String.fromCharCode(...new Uint8Array(await file.slice(0, 160).arrayBuffer()));
  if (/^.{4}ftyp(hei|mif1|msf1)/s.test(start)) return "";
  if (/^(\xff\xd8\xff|\x89PNG|RIFF.{4}WEBP)/s.test(start)) return strings.damaged;
  const found = strings.kinds.find(([at, magic]) => start.startsWith(magic, at));
  return found ? fill(strings.unsupported_format, found[2]) : strings.not_an_image;
}

// A JPEG that lacks no more than its end mark, told as on the server: what stands before a new one changes no pixel.
async function withEndMark(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return null;
  const whole = bytes.subarray(0, bytes.findLastIndex((byte) => byte !== 0xff) + 1);
  const ended = (...before) => createImageBitmap(
    new Blob([whole, ...before, new Uint8Array([0xff, 0xd9])], { type: "image/jpeg" }));
  const bitmap = await ended();
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  context.globalCompositeOperation = "difference";
  context.drawImage(await ended(new Uint8Array(1024).map((_, n) => (n % 2 ? 0xa3 : 0x5a))), 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  return new Uint32Array(data.buffer).every((pixel) => pixel === 0xff000000) ? bitmap : null;
}

async function opened(file) {
  let bitmap = null;
  for (const open of file.size && file.size <= strings.megabytes * 1024 * 1024 ? [createImageBitmap, withEndMark] : []) {
    try { bitmap ??= await open(file); } catch { /* said below */ }
  }
  const problem = await problemOf(file, bitmap);
  if (problem) { complain(`${file.name ? `${file.name}: ` : ""}${problem}`); return null; }
  return { id: crypto.getRandomValues(new Uint32Array(1))[0], turned: 0, bitmap, raw: bitmap ? null : await asDataUri(file), ...starting() };
}

// A photo that is chosen takes the place of what was there.
async function choose(files) {
  complain(""); say("");
  const photo = files.length ? await opened(files[0]) : null;
  if (!photo) return;
  photos.splice(0, photos.length, photo);
  current = 0;
  show();
  $(".cc-stage").scrollIntoView({ block: "nearest" });
}

async function addViews(files) {
  complain("");
  for (const file of files) {
    if (photos.length >= strings.most) { complain(fill(strings.too_many, strings.most)); break; }
    const photo = await opened(file);
    if (photo) current = photos.push(photo) - 1;
  }
  show();
}

function startOver() {
  photos.length = current = 0;
  sent = asked = null; // an answer that is still to come is of nothing then
  complain(""); say(strings.cleared);
  show();
  trigger("clear", {});
  $("#cc-file").focus();
}

async function turn() {
  const photo = photos[current];
  if (!photo?.bitmap) return;
  const canvas = document.createElement("canvas");
  canvas.width = photo.bitmap.height;
  canvas.height = photo.bitmap.width;
  const context = canvas.getContext("2d");
  context.translate(canvas.width, 0);
  context.rotate(Math.PI / 2);
  context.drawImage(photo.bitmap, 0, 0);
  Object.assign(photo, { bitmap: await createImageBitmap(canvas), turned: (photo.turned + 1) % 4, x: 1 - photo.y, y: photo.x });
  show();
}

function reset() { Object.assign(photos[current], starting()); show(); }

function look() {
  if (!photos.length || looking) return;
  if (!navigator.onLine) { say(strings.offline); return; }
  ask({ state: state(), photos: photos.map(framed) });
}

function ask(what, again = false) {
  asked = { ...what, again, language: document.documentElement.lang };
  looking = true;
  show();
  say(strings.looking);
  trigger("submit", { photos: what.photos, language: asked.language });
}

// The page calls this when the server has answered, or has failed to.
window.calcinosisAnswered = (answered) => {
  looking = false;
  if (!asked) { trigger("clear", {}); show(); return; }
  if (answered) sent = asked;
  // The language was changed meanwhile: the answer is in the one before.
  if (answered && sent.language !== document.documentElement.lang) { ask(sent, sent.again); return; }
  show();
  const refused = document.querySelector(".cc-problem, .cc-finding.cc-retake");
  say(!answered ? strings.failed : refused ? strings.refused : strings.ready);
  const withPhoto = document.getElementById("cc-with-photo");
  if (withPhoto) withPhoto.checked = false; // a tick is for one finding only
  const title = document.getElementById("cc-finding-title");
  if (answered && title && !asked.again) title.focus();
};

// Where the server refuses a request (busy, too many), Gradio only shows a message: then nothing comes.
new MutationObserver(() => {
  if (looking && document.querySelector("[data-testid=toast-body].error")) window.calcinosisAnswered(false);
}).observe(document.body, { childList: true, subtree: true });

// A reading that the network is lost in never ends by itself. Gradio starts the page anew after one.
window.addEventListener("offline", () => {
  if (looking) window.calcinosisAnswered(false);
  say(strings.offline);
});
window.addEventListener("online", () => say(photos.length ? strings.online : ""));

async function openCamera() {
  complain("");
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
  } catch { complain(strings.no_camera); return; }
  $("video").srcObject = stream;
  $(".cc-camera").hidden = false;
  $("[data-do=shutter]").focus();
}

function closeCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  $(".cc-camera").hidden = true;
  $("[data-do=camera]").focus();
}

async function shoot() {
  const video = $("video");
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  closeCamera();
  await choose([await new Promise((resolve) => canvas.toBlob(resolve, "image/png"))]);
}

async function pasteFromClipboard() {
  try {
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find((name) => name.startsWith("image/"));
      if (type) { await choose([await item.getType(type)]); return; }
    }
  } catch { /* said below */ }
  complain(strings.no_paste);
}

const actions = { camera: openCamera, cancel: closeCamera, shutter: shoot, paste: pasteFromClipboard, look, turn, reset, over: startOver };

element.addEventListener("click", (event) => {
  actions[event.target.closest("[data-do]")?.dataset.do]?.();
});
element.addEventListener("change", async (event) => {
  const takes = { "cc-file": choose, "cc-add": addViews }[event.target.id];
  if (!takes) return;
  const files = [...event.target.files];
  event.target.value = ""; // so that the same file can be chosen again
  await takes(files);
});
element.addEventListener("input", (event) => {
  const move = event.target.dataset.move;
  if (!move) return;
  photos[current][move] = Number(event.target.value);
  show();
});
// A drop anywhere is a photo for this page: beside the card, the browser would leave the page for it.
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer?.files.length) choose([...event.dataTransfer.files]);
});
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length) { event.preventDefault(); choose(files); }
});

// The mouse drags, its wheel zooms; two fingers do both, so that one finger can scroll past the photo.
// The sliders do all of it for the keyboard.
function moved(across, down, zoom = 1) {
  const photo = photos[current];
  const before = square(photo);
  const scale = before.side / $("canvas").clientWidth;
  const left = before.left - across * scale;
  const top = before.top - down * scale;
  photo.zoom = clamp(photo.zoom * zoom, 1, MOST_ZOOM);
  const { side } = square(photo);
  const room = { x: photo.bitmap.width - side, y: photo.bitmap.height - side };
  const grown = (before.side - side) / 2; // what is in the middle stays there
  if (room.x) photo.x = clamp((left + grown) / room.x);
  if (room.y) photo.y = clamp((top + grown) / room.y);
  show();
}
const onCanvas = (event) => event.target === $("canvas") && photos[current]?.bitmap;
let grip = null;
element.addEventListener("pointerdown", (event) => {
  if (!onCanvas(event) || event.pointerType === "touch") return;
  grip = { x: event.clientX, y: event.clientY };
  event.target.setPointerCapture(event.pointerId);
});
element.addEventListener("pointermove", (event) => {
  if (!grip) return;
  moved(event.clientX - grip.x, event.clientY - grip.y);
  grip = { x: event.clientX, y: event.clientY };
});
for (const name of ["pointerup", "pointercancel"]) element.addEventListener(name, () => { grip = null; });
element.addEventListener("wheel", (event) => {
  if (!onCanvas(event)) return;
  event.preventDefault();
  moved(0, 0, Math.exp(-event.deltaY / 400));
}, { passive: false });

let pinch = null;
const pinchOf = ([one, other]) => ({
  x: (one.clientX + other.clientX) / 2,
  y: (one.clientY + other.clientY) / 2,
  apart: Math.max(1, Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY)),
});
const followPinch = (event) => {
  if (event.touches.length !== 2 || !onCanvas(event)) { pinch = null; return; }
  event.preventDefault();
  const now = pinchOf(event.touches);
  if (pinch) moved(now.x - pinch.x, now.y - pinch.y, now.apart / pinch.apart);
  pinch = now;
};
for (const name of ["touchstart", "touchmove", "touchend"]) element.addEventListener(name, followPinch, { passive: false });

// A change of language renders this part anew; what was chosen stays, and its finding is told again.
function speak() {
  const section = $("[data-strings]");
  strings = JSON.parse(section.dataset.strings);
  const changed = document.documentElement.lang !== section.dataset.language;
  document.documentElement.lang = section.dataset.language;
  show();
  if (changed && sent && !looking) ask(sent, true);
}
watch("value", speak);
speak();
element.dataset.listening = "true"; // what is pasted or pressed before is lost: tests wait for this
