/** Builds the page and joins its parts. Read it first. */

import { Actions } from "./actions.js";
import * as api from "./api.js";
import { card } from "./card.js";
import { listen } from "./events.js";
import { Filters } from "./filters.js";
import { Gallery } from "./gallery.js";
import { Grid } from "./grid.js";
import { Jobs } from "./jobs.js";
import { Lightbox } from "./lightbox.js";
import { Notice } from "./notice.js";
import { stand } from "./standing.js";
import * as words from "./words.js";

const ARRIVED_MS = 400;
const part = (id) => document.getElementById(id);

const notice = new Notice(part("seen"), part("heard"));
const failed = (error) => notice.say(error.message);
const fresh = new Set();
const unseen = new Set();
let marks = true;
let arrived = [];

const gallery = new Gallery(show, failed);
const actions = new Actions(part("question-box"), notice.say, (jobId) => {
  gallery.refresh(jobId);
  jobs.refresh();
});
const jobs = new Jobs(part("jobs"), actions.retry, failed);
const filters = new Filters(part("filters"), (wanted) => {
  scrollTo(0, 0);
  gallery.want(wanted);
});
const open = ({ items: [item] }) => lightbox.open(item);
const grid = new Grid(
  part("grid"),
  (group) => card(group, { ...actions, open }, fresh.has(group.jobId)),
  () => gallery.more(),
);
const lightbox = new Lightbox(part("lightbox"), gallery, actions, (item) => {
  const group = gallery.groups.find(({ items }) => items.some(({ id }) => id === item?.id));
  if (group) grid.focus(group.key);
});

function show() {
  grid.show(gallery.groups);
  lightbox.refresh();
  const none = gallery.loaded && gallery.groups.length === 0;
  part("empty").hidden = !none || filters.narrow;
  part("no-match").hidden = !none || !filters.narrow;
  part("count").textContent = words.count(gallery.total, "output");
}

/** Something was announced; what is there now is asked for. */
function update({ action, replay, payload }) {
  gallery.refresh(payload.jobId);
  jobs.refresh();
  if (replay || action === "remove") return;
  if (marks) {
    fresh.add(payload.jobId);
    grid.renew(payload.jobId);
  }
  if (scrollY > innerHeight / 2) unseen.add(payload.jobId);
  if (arrived.length === 0) setTimeout(tellArrivals, ARRIVED_MS);
  arrived.push(payload);
}

function tellArrivals() {
  const [{ asset, ...payload }] = arrived;
  const one = `New ${words.KINDS[asset.kind].toLowerCase()}: ${words.title({ ...asset, ...payload })}`;
  notice.whisper(arrived.length === 1 ? one : `${arrived.length} new outputs`);
  arrived = [];
  tellUnseen();
}

function tellUnseen() {
  part("to-top").hidden = unseen.size === 0;
  part("to-top").textContent = `${unseen.size} new ↑`;
}

const HEARS = {
  job: () => jobs.refresh(),
  download: jobs.progress.bind(jobs),
  gallery: ({ id }) => (id ? gallery.refresh(id.replace(/_\d+$/, "")) : gallery.reload()),
  notification: ({ title, body }) => notice.whisper(`${title}. ${body}`),
  feed: lookAround,
  auth: start,
};

async function lookAround() {
  try {
    const state = await api.state();
    marks = state.daemon?.openPolicy !== "never";
    stand(part("banner"), state);
  } catch (error) {
    failed(error);
  }
}

/** Looks at everything, since anything may have happened meanwhile. */
function start() {
  lookAround();
  jobs.refresh();
  gallery.reload();
}

part("to-top").addEventListener("click", () => scrollTo({ top: 0 }));
addEventListener(
  "scroll",
  () => {
    if (scrollY > innerHeight / 2 || unseen.size === 0) return;
    unseen.clear();
    tellUnseen();
  },
  { passive: true },
);
listen({
  state: ({ connected }) => (connected ? start() : lookAround()),
  update,
  event: ({ topic, data }) => HEARS[topic]?.(data),
  lost: () => stand(part("banner"), null),
});
