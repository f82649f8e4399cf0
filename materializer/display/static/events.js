/** What the server tells of its own accord. */

const TOLD = ["state", "update", "event"];
const AGAIN_MS = 2000;

/**
 * Listens for ever. `hears` has a function for each of `state`, `update` and `event`,
 * called with the data, and `lost`, called when the server is gone; the next `state`
 * says that it is back.
 */
export function listen(hears) {
  const source = new EventSource("/api/events");
  for (const name of TOLD)
    source.addEventListener(name, ({ data }) => hears[name](JSON.parse(data)));
  source.addEventListener("error", () => {
    hears.lost();
    // The browser tries again by itself, except after an answer that was a refusal.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => listen(hears), AGAIN_MS);
  });
}
