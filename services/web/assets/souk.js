// What pages do by themselves: times in the visitor's own zone, countdowns by the server's clock, and live changes.
// Every form and link works without it.

const root = document.documentElement;
const locale = root.lang;
const still = matchMedia("(prefers-reduced-motion: reduce)");
let ahead = 0; // milliseconds by which the server's clock is ahead of the browser's

// --- Texts ---

function announce(text) {
  document.getElementById("announce").textContent = text;
}

const moment = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });

function showTimes() {
  for (const time of document.querySelectorAll("time[data-local]")) {
    time.textContent = moment.format(new Date(time.dateTime));
    delete time.dataset.local;
  }
}

// --- Countdown ---

function left(seconds) {
  const parts = [Math.floor(seconds / 60) % 60, seconds % 60];
  if (seconds >= 3600) parts.unshift(Math.floor(seconds / 3600));
  return parts.map((part, index) => (index ? String(part).padStart(2, "0") : part)).join(":");
}

function tickList() {
  for (const clock of document.querySelectorAll("time.clock")) {
    const seconds = Math.ceil((Date.parse(clock.dateTime) - Date.now() - ahead) / 1000);
    const text = seconds > 0 ? left(seconds) : clock.dataset.over;
    if (clock.textContent !== text) clock.textContent = text;
  }
}

function tick() {
  tickList();
  const clock = document.querySelector(".countdown");
  if (!clock) return;
  const { until, since, soon, over } = clock.dataset;
  const now = Date.now() + ahead;
  const seconds = Math.max(0, Math.ceil((Date.parse(until) - now) / 1000));
  const text = seconds ? left(seconds) : over;
  if (clock.textContent === text) return;
  clock.textContent = text;
  const label = clock.previousElementSibling;
  label.textContent = label.dataset.left;
  clock.classList.toggle("soon", seconds <= 60);
  const bar = document.querySelector("progress.hold");
  bar.value = Math.max(0, (Date.parse(until) - now) / (Date.parse(until) - Date.parse(since)));
  if (seconds === 60) announce(soon);
  if (seconds === 0) announce(over);
}

setInterval(tick, 250);

// --- The start of a sale ---

const days = new Intl.RelativeTimeFormat(locale);

function openSales() {
  for (const element of document.querySelectorAll("[data-opens]")) {
    const seconds = Math.ceil((Date.parse(element.dataset.opens) - Date.now() - ahead) / 1000);
    const clock = element.querySelector(".until");
    if (seconds > 0) {
      if (clock) clock.textContent = seconds < 86400 ? left(seconds) : days.format(Math.floor(seconds / 86400), "day");
      continue;
    }
    element.textContent = element.dataset.open;
    element.classList.remove("none");
    delete element.dataset.opens;
    if (!element.matches("button")) continue;
    element.disabled = false;
    announce(element.textContent);
  }
}

setInterval(openSales, 250);

// --- Live ---

let stream = null;
let address = null;
let pause = 1000;
let again = 0;

function wanted() {
  const query = new URLSearchParams();
  const shown = [...document.querySelectorAll("[data-item]")].slice(-100);
  for (const { dataset } of shown) query.append("item", dataset.item);
  const order = document.querySelector("[data-live-order]");
  if (order) query.set("order", order.dataset.order);
  const list = document.querySelector("[data-orders][hx-get]");
  if (list) query.set("orders", list.dataset.orders);
  return query.size ? `/live?${query}` : null;
}

function follow() {
  const url = document.hidden ? null : wanted();
  if (url === address) return;
  stream?.close();
  clearTimeout(again);
  address = url;
  if (url) listen();
  else delete root.dataset.live;
}

function listen() {
  stream = new EventSource(address);
  stream.addEventListener("clock", ({ data }) => {
    ahead = Number(data) - Date.now();
    pause = 1000;
  });
  stream.addEventListener("news", ({ data }) => {
    const { html, orders } = JSON.parse(data);
    replace(html);
    if (orders.some(isNews)) document.body.dispatchEvent(new Event("refresh"));
    root.dataset.live = "on";
  });
  stream.addEventListener("gone", () => stream.close());
  stream.addEventListener("error", () => {
    delete root.dataset.live;
    // The browser reconnects by itself, except after a response that was not a stream.
    if (stream.readyState !== EventSource.CLOSED) return;
    clearTimeout(again);
    again = setTimeout(listen, pause * (0.5 + Math.random()));
    pause = Math.min(pause * 2, 15000);
  });
}

function isNews([id, version]) {
  const shown = document.querySelector(`[data-order="${CSS.escape(id)}"]`);
  if (!shown) return !document.querySelector("[data-live-order]");
  return version === null || Number(shown.dataset.version) < version;
}

function replace(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  for (const fresh of [...template.content.children]) {
    const old = document.getElementById(fresh.id);
    if (!old || old.isEqualNode(fresh) || old.closest("form[data-sent]")) continue;
    const focused = document.activeElement === old;
    old.replaceWith(fresh);
    if (focused) fresh.focus();
    if (fresh.closest("[data-announce]")) announce(fresh.textContent);
    if (fresh.dataset.wording) reread();
    if (!still.matches) fresh.animate([{ opacity: 0.2 }, { opacity: 1 }], { duration: 600, easing: "ease-out" });
  }
  showTimes();
}

// The seller has changed a text. Everybody who looks at the item reads it again, but not all at once.
let rereading = 0;

function reread() {
  clearTimeout(rereading);
  rereading = setTimeout(async () => {
    try {
      const answer = await fetch(location.pathname);
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const old of document.querySelectorAll("[data-texts]")) {
        const fresh = page.querySelector(`[data-texts="${old.dataset.texts}"]`);
        if (fresh && !old.isEqualNode(fresh)) old.replaceWith(fresh);
      }
      document.title = page.title;
      showTimes();
    } catch {
      // The next change, or a reload, shows it.
    }
  }, Math.random() * 3000);
}

document.addEventListener("visibilitychange", follow);
addEventListener("pagehide", () => {
  stream?.close();
  address = null;
  keep();
});
addEventListener("pageshow", ({ persisted }) => {
  if (!persisted) return;
  if (document.getElementById("found")) follow();
  else location.reload(); // The key in a form is for one order only.
});

// --- Back to where one was, however far one had scrolled ---

function kept() {
  return `found ${location.pathname}${location.search}`;
}

function keep() {
  const found = document.getElementById("found");
  if (!found || found.querySelectorAll(".grid").length < 2) return;
  try {
    sessionStorage.setItem(kept(), JSON.stringify([scrollY, found.innerHTML]));
  } catch {
    // It is too long to be kept: then the list begins at its first page again.
  }
}

function restore() {
  const [navigation] = performance.getEntriesByType("navigation");
  const found = document.getElementById("found");
  const text = found && navigation?.type === "back_forward" && sessionStorage.getItem(kept());
  if (!text) return;
  const [top, html] = JSON.parse(text);
  found.innerHTML = html;
  htmx.process(found);
  history.scrollRestoration = "manual";
  scrollTo({ top, behavior: "instant" });
}

// --- Around swaps ---

let open = [];
let headline = document.querySelector("[data-headline]")?.dataset.headline;

document.body.addEventListener("htmx:beforeSwap", () => {
  open = [...document.querySelectorAll("details[open][id]")].map(({ id }) => id);
});

document.body.addEventListener("htmx:afterSwap", tick);

document.body.addEventListener("htmx:afterSettle", () => {
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  const current = document.querySelector("[data-headline]")?.dataset.headline;
  if (current && current !== headline) announce(current);
  headline = current;
  start();
});

// --- Forms and menus ---

document.addEventListener("submit", (event) => {
  const { target } = event;
  if (target.method !== "post") return;
  target.dataset.sent = "";
  if ("keepsPictures" in target.dataset && target.querySelector("input[type=file]").files.length) {
    event.preventDefault();
    sendPictures(target);
  }
  // Only after the browser has collected the fields: a disabled button would not be among them.
  setTimeout(() => target.querySelectorAll("button").forEach((button) => (button.disabled = true)));
});

// The page that says what is wrong has the chosen pictures again: only a script may put them there.
async function sendPictures(form) {
  const [field, data] = [form.querySelector("input[type=file]"), new FormData(form)];
  let answer;
  try {
    answer = await fetch(form.action, { method: "post", body: data });
  } catch {
    form.submit(); // The browser says what is wrong with the connection.
    return;
  }
  if (answer.redirected) {
    location.assign(answer.url);
    return;
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  document.getElementById("main").replaceWith(page.getElementById("main"));
  const fresh = document.getElementById(field.id);
  if (fresh) fresh.files = field.files;
  document.querySelector("[aria-invalid]")?.focus();
  scrollTo(0, 0);
  start();
}

// A heart on a card turns where it is. Where it leads elsewhere, one follows: to sign in again, or to why it is not kept.
document.addEventListener("submit", (event) => {
  if (!("inPlace" in event.target.dataset)) return;
  event.preventDefault();
  turn(event.submitter, event.target);
});

async function turn(heart, form) {
  if (heart.ariaBusy) return;
  heart.ariaBusy = "true";
  const page = heart.closest("[data-item]").querySelector("a").href;
  const data = new URLSearchParams(new FormData(form, heart));
  data.set("back", new URL(page).pathname);
  const kept = heart.value === "yes";
  try {
    const { url } = await fetch(heart.formAction, { method: "post", body: data });
    if (url !== page) return location.assign(url);
    heart.setAttribute("aria-pressed", kept);
    heart.value = kept ? "no" : "yes";
  } catch {
    location.assign(page); // The browser says what is wrong with the connection.
  } finally {
    heart.ariaBusy = null;
  }
}

// A click on a picture says which point of it stays visible where it is cropped, as it is here.
document.addEventListener("click", ({ target: picture, clientX, clientY }) => {
  if (!picture.dataset?.focus) return;
  const form = document.getElementById(picture.dataset.focus);
  const box = picture.getBoundingClientRect();
  const { naturalWidth: width, naturalHeight: height } = picture;
  const scale = Math.max(box.width / width, box.height / height);
  const at = getComputedStyle(picture).objectPosition.split(" ").map((part) => parseFloat(part) / 100);
  const along = (click, shown, whole, part) => {
    const percent = ((click - (shown - whole) * part) / whole) * 100;
    return Math.round(Math.min(100, Math.max(0, percent)));
  };
  form.elements.x.value = along(clientX - box.left, box.width, width * scale, at[0]);
  form.elements.y.value = along(clientY - box.top, box.height, height * scale, at[1]);
  picture.style.objectPosition = `${form.elements.x.value}% ${form.elements.y.value}%`;
  form.closest("details").open = true;
});

// A thumbnail turns the stage; without a script its link does, and the page moves too.
document.addEventListener("click", (event) => {
  const shown = event.target.closest(".strip a");
  if (!shown) return;
  event.preventDefault();
  const picture = document.querySelector(shown.hash);
  picture.parentElement.scrollTo({ left: picture.offsetLeft - picture.parentElement.offsetLeft });
});

const MENUS = ".bar details[open], details.menu[open]";

document.addEventListener("click", ({ target }) => {
  for (const menu of document.querySelectorAll(MENUS)) {
    if (!menu.contains(target)) menu.open = false;
  }
});

document.addEventListener("keydown", ({ key }) => {
  if (key !== "Escape") return;
  for (const menu of document.querySelectorAll(MENUS)) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

function start() {
  showTimes();
  tick();
  follow();
}

// A page that says that something is away loads itself again after so many seconds.
const away = document.querySelector("[data-retry]");
if (away) setTimeout(() => location.reload(), Number(away.dataset.retry) * 1000);

restore();
start();
