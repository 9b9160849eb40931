// Keeps what the page loads, so that it works without a network afterwards.
// The name changes with the exported network: VERSION is replaced when the page is written.
const KEPT = "classifier-VERSION";

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(KEPT).then((kept) => kept.addAll(["./", "network.json"])).then(() => self.skipWaiting()));
});
self.addEventListener("activate", (event) => {
  const old = caches.keys().then((names) => Promise.all(
    names.filter((n) => n.startsWith("classifier-") && n !== KEPT).map((n) => caches.delete(n))));
  event.waitUntil(old.then(() => self.clients.claim()));
});
self.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET" || !event.request.url.startsWith("http")) return;
  if (new URL(event.request.url).searchParams.has("image")) return;
  event.respondWith(caches.open(KEPT).then(async (kept) => {
    const found = await kept.match(event.request);
    if (found) return found;
    const response = await fetch(event.request);
    if (response.ok) await kept.put(event.request, response.clone());
    return response;
  }));
});
