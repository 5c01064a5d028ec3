// A gate: reads tickets with the camera or from the keyboard, asks the server, and answers in colour, words and sound.
// The token of the gate is after the # of the address.

const page = document.querySelector(".gate");
const [name, event, verdict, count] = [".gate-name", ".gate-event", ".verdict", ".gate-count"].map((one) => page.querySelector(one));
const typed = page.querySelector(".typed");
const camera = page.querySelector(".camera");
const start = page.querySelector(".start-camera");
const gate = location.hash.slice(1);
const texts = page.dataset;
const TRIES = 4;
const SHOWN = 2500; // milliseconds for which the camera does not read the same code again

// --- Asking ---

// Each scan of this device has a number of its own, so that one which is sent again counts once.
function nextNumber() {
  const number = Number(localStorage.getItem("gate-seq") ?? 0) + 1;
  localStorage.setItem("gate-seq", number);
  return number;
}

function device() {
  const known = localStorage.getItem("gate-device") ?? crypto.getRandomValues(new Uint32Array(4)).join("-");
  localStorage.setItem("gate-device", known);
  return known;
}

async function ask(path, body) {
  for (let left = TRIES; ; left -= 1) {
    try {
      const answer = await fetch(`/api/tickets/${path}`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(5000),
      });
      if (answer.status === 403) return { result: "closed" };
      if (answer.ok) return await answer.json();
      if (answer.status < 500) return { result: "unknown" };
    } catch {
      // The server is away: the same again, with the same number.
    }
    if (left <= 1) return { result: "away" };
    show("waiting", texts.again);
    await new Promise((resolve) => setTimeout(resolve, 400 * (TRIES - left + 1)));
  }
}

// --- Answering ---

let sound = null;

function beep(good) {
  sound ??= new AudioContext();
  for (const [index, pitch] of (good ? [880, 1320] : [220, 180, 150]).entries()) {
    const tone = sound.createOscillator();
    tone.type = good ? "sine" : "square";
    tone.frequency.value = pitch;
    tone.connect(sound.destination);
    tone.start(sound.currentTime + index * 0.14);
    tone.stop(sound.currentTime + index * 0.14 + 0.12);
  }
}

function show(tone, headline, more = "") {
  verdict.className = `verdict ${tone}`;
  verdict.querySelector("strong").textContent = headline;
  verdict.querySelector("span").textContent = more;
  verdict.hidden = false;
}

function filled(text, values) {
  return text.replace(/{(\w+)}/g, (_, key) => values[key]);
}

let admitted = 0;
let tickets = 0;

function showCount() {
  count.textContent = filled(texts.count, { admitted, tickets });
}

let busy = false;

async function check(code) {
  if (busy) return;
  busy = true;
  show("waiting", "…");
  const answer = await ask("scan", { code, gate, device: device(), seq: nextNumber(), at: new Date().toISOString() });
  const good = answer.result === "admitted";
  const time = answer.first_admitted_at && new Date(answer.first_admitted_at).toLocaleTimeString(document.documentElement.lang, { timeStyle: "short" });
  const where = !good && time ? filled(texts.first, { time, gate: answer.gate }) : "";
  show(good ? "good" : "bad", texts[answer.result], [answer.number, where].filter(Boolean).join(" · "));
  beep(good);
  if (good) {
    admitted += 1;
    showCount();
  }
  busy = false;
}

// --- Reading ---

typed.addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  const code = typed.elements.code.value.trim();
  typed.reset();
  typed.elements.code.focus();
  if (code) check(code);
});

async function watch() {
  start.hidden = true;
  try {
    camera.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    await camera.play();
  } catch {
    show("bad", texts.no_camera);
    return;
  }
  camera.hidden = false;
  const detector = new BarcodeDetector({ formats: ["qr_code"] });
  let last = { code: "", at: 0 };
  for (;;) {
    const [found] = camera.readyState >= 2 ? await detector.detect(camera).catch(() => []) : [];
    const code = found?.rawValue ?? "";
    if (code && (code !== last.code || Date.now() - last.at > SHOWN)) await check(code);
    if (code) last = { code, at: Date.now() };
    await new Promise((resolve) => setTimeout(resolve, 60));
  }
}

async function open() {
  const sign = gate ? await ask("gates/sign", { gate }) : { result: "closed" };
  if (!sign.name) {
    show("bad", texts[sign.result]);
    return;
  }
  verdict.hidden = true;
  name.textContent = sign.name;
  event.textContent = sign.item_title;
  ({ admitted, tickets } = sign);
  showCount();
  typed.hidden = false;
  const formats = "BarcodeDetector" in window ? await BarcodeDetector.getSupportedFormats().catch(() => []) : [];
  if (formats.includes("qr_code") && navigator.mediaDevices) {
    start.hidden = false;
    start.addEventListener("click", watch);
  }
}

open();
