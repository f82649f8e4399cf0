/** What the page asks of its server. */

/** The server's answer is no; the message is for the person. */
export class Refused extends Error {}

export const state = () => get("/api/state");
export const gallery = (wanted) => get("/api/gallery", wanted);
export const jobs = () => get("/api/jobs");
export const remove = (id, deleteFile) => post("/api/item/remove", { id, deleteFile });
export const reveal = (id) => post("/api/item/reveal", { id });
export const retry = (jobId) => post("/api/job/retry", { jobId });

/** Returns the text of an output. */
export async function text(item) {
  return (await answer(fetch(item.url))).text();
}

/** Returns the bytes of an output. */
export async function bytes(item) {
  return (await answer(fetch(item.url))).blob();
}

async function get(path, wanted = {}) {
  const asked = Object.entries(wanted).filter(([, value]) => value);
  const query = asked.length ? `?${new URLSearchParams(asked)}` : "";
  return (await answer(fetch(path + query))).json();
}

async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  const sent = fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  return (await answer(sent)).json();
}

async function answer(asked) {
  let response;
  try {
    response = await asked;
  } catch {
    throw new Refused("The page's server does not answer.");
  }
  if (response.ok) return response;
  throw new Refused(await words(response));
}

async function words(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `The page's server answered ${response.status}.`;
  }
}
