// The page of a gate also opens without a network: it and the files that it names are kept here.

const KEPT = "gate";
const PAGE = "/gate";

// Keeps the page as nobody sees it: without the name of who is signed in.
async function keep() {
  const answer = await fetch(PAGE, { credentials: "omit" });
  if (!answer.ok) throw new Error(`the page answered ${answer.status}`);
  const names = new Set((await answer.clone().text()).match(/\/static\/[\w.-]+/g));
  const cache = await caches.open(KEPT);
  await Promise.all([...names].map(async (name) => (await cache.match(name)) || cache.add(name)));
  await cache.put(PAGE, answer);
  for (const { url } of await cache.keys()) {
    const { pathname } = new URL(url);
    if (pathname !== PAGE && !names.has(pathname)) await cache.delete(url);
  }
}

async function page(request) {
  const kept = await caches.match(PAGE);
  try {
    const answer = await fetch(request);
    return answer.status >= 500 && kept ? kept : answer;
  } catch (error) {
    if (kept) return kept;
    throw error;
  }
}

self.addEventListener("install", (event) => event.waitUntil(keep().then(() => self.skipWaiting())));
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const { pathname, origin } = new URL(event.request.url);
  if (event.request.method !== "GET" || origin !== location.origin) return;
  if (event.request.mode === "navigate" && pathname === PAGE) {
    event.respondWith(page(event.request));
    event.waitUntil(keep().catch(() => {})); // Away: what is kept stays.
  } else if (pathname.startsWith("/static/")) {
    event.respondWith(caches.match(event.request).then((kept) => kept ?? fetch(event.request)));
  }
});
