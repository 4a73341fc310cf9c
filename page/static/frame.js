// Choosing and framing photos in the browser. Only the framed part leaves it, encoded anew: a canvas
// carries no metadata. A file that the browser cannot show is sent as it is, for the server to judge.
// Gradio calls this text as a function of (element, trigger, props, server, upload, watch).

const MOST_SIDE = 1280; // pixels of a framed photo; the network sees fewer
const photos = []; // {name, bitmap or null, raw, zoom, x, y}
let current = 0;
let stream = null;
let looking = false;
let strings = {};

const $ = (selector) => element.querySelector(selector);
const fill = (text, ...values) => values.reduce((t, value) => t.replace("%s", value), text);
const say = (text) => { $("[data-show=status]").textContent = text; };

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

function show() {
  const photo = photos[current];
  $(".cc-stage").hidden = !photo;
  const look = $("[data-do=look]");
  look.disabled = !photo || looking;
  look.textContent = looking ? strings.looking
    : photos.length > 1 ? fill(strings.look_together, photos.length) : strings.look;
  showStrip();
  if (!photo) return;
  for (const slider of element.querySelectorAll("[data-move]")) {
    slider.disabled = slider.closest("label").hidden = !photo.bitmap;
    slider.value = photo[slider.dataset.move];
  }
  const canvas = $("canvas");
  canvas.hidden = !photo.bitmap;
  if (photo.bitmap) {
    draw(canvas, photo);
    const { side } = square(photo);
    const few = side < strings.least ? ` ${fill(strings.too_few, strings.least)}` : "";
    $("[data-show=size]").textContent = fill(strings.size, side, side) + few;
    $("[data-show=size]").classList.toggle("cc-few", Boolean(few));
  } else {
    $("[data-show=size]").textContent = strings.whole;
    $("[data-show=size]").classList.remove("cc-few");
  }
}

function showStrip() {
  const strip = $(".cc-strip");
  strip.replaceChildren(...photos.map((photo, index) => {
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
      current = Math.max(0, Math.min(current, photos.length - 1));
      show();
      $(photos.length ? ".cc-thumb" : "#cc-file").focus();
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

async function add(files) {
  for (const file of files) {
    if (photos.length >= strings.most) { say(fill(strings.too_many, strings.most)); break; }
    if (file.size > strings.megabytes * 1024 * 1024) { say(fill(strings.too_large, strings.megabytes)); continue; }
    let bitmap = null;
    try { bitmap = await createImageBitmap(file); } catch { /* the server says what it is */ }
    const raw = bitmap ? null : await asDataUri(file);
    photos.push({ bitmap, raw, zoom: 1, x: 0.5, y: 0.5 });
    current = photos.length - 1;
    say("");
  }
  show();
}

function look() {
  if (!photos.length || looking) return;
  if (!navigator.onLine) { say(strings.offline); return; }
  looking = true;
  show();
  say(strings.looking);
  trigger("submit", { photos: photos.map(framed), language: document.documentElement.lang });
}

// The page calls this when the server has answered, or has failed to.
window.calcinosisAnswered = (answered) => {
  looking = false;
  show();
  const refused = document.querySelector(".cc-problem, .cc-retake");
  say(!answered ? strings.failed : refused ? strings.refused : strings.ready);
  const withPhoto = document.getElementById("cc-with-photo");
  if (withPhoto) withPhoto.checked = false; // a tick is for one finding only
  const title = document.getElementById("cc-finding-title");
  if (answered && title) title.focus();
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
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
  } catch { say(strings.no_camera); return; }
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
  await add([await new Promise((resolve) => canvas.toBlob(resolve, "image/png"))]);
}

async function pasteFromClipboard() {
  try {
    for (const item of await navigator.clipboard.read()) {
      const type = item.types.find((name) => name.startsWith("image/"));
      if (type) { await add([await item.getType(type)]); return; }
    }
  } catch { /* said below */ }
  say(strings.no_paste);
}

const actions = { camera: openCamera, cancel: closeCamera, shutter: shoot, paste: pasteFromClipboard, look };

element.addEventListener("click", (event) => {
  actions[event.target.closest("[data-do]")?.dataset.do]?.();
});
element.addEventListener("change", async (event) => {
  if (event.target.id !== "cc-file") return;
  const files = [...event.target.files];
  event.target.value = ""; // so that the same file can be chosen again
  await add(files);
});
element.addEventListener("input", (event) => {
  const move = event.target.dataset.move;
  if (!move) return;
  photos[current][move] = Number(event.target.value);
  show();
});
element.addEventListener("dragover", (event) => event.preventDefault());
element.addEventListener("drop", (event) => {
  event.preventDefault();
  add([...event.dataTransfer.files]);
});
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length) { event.preventDefault(); add(files); }
});

// Dragging and the wheel move the frame too; the sliders do all of it for the keyboard.
let grip = null;
element.addEventListener("pointerdown", (event) => {
  if (event.target !== $("canvas") || !photos[current]?.bitmap) return;
  grip = { x: event.clientX, y: event.clientY };
  event.target.setPointerCapture(event.pointerId);
});
element.addEventListener("pointermove", (event) => {
  if (!grip) return;
  const photo = photos[current];
  const { side } = square(photo);
  const scale = side / event.target.clientWidth;
  const clamp = (value) => Math.min(1, Math.max(0, value));
  const roomX = photo.bitmap.width - side;
  const roomY = photo.bitmap.height - side;
  if (roomX) photo.x = clamp(photo.x - ((event.clientX - grip.x) * scale) / roomX);
  if (roomY) photo.y = clamp(photo.y - ((event.clientY - grip.y) * scale) / roomY);
  grip = { x: event.clientX, y: event.clientY };
  show();
});
for (const name of ["pointerup", "pointercancel"]) element.addEventListener(name, () => { grip = null; });
element.addEventListener("wheel", (event) => {
  const photo = photos[current];
  if (event.target !== $("canvas") || !photo?.bitmap) return;
  event.preventDefault();
  photo.zoom = Math.min(8, Math.max(1, photo.zoom * Math.exp(-event.deltaY / 400)));
  show();
}, { passive: false });

// A change of language renders the part anew; what was chosen stays.
function speak() {
  const section = $("[data-strings]");
  strings = JSON.parse(section.dataset.strings);
  document.documentElement.lang = section.dataset.language;
  show();
}
watch("value", speak);
speak();
