/** The jobs without all their outputs: what they wait for, and what went wrong. */

import * as api from "./api.js";
import { element, iconButton } from "./element.js";
import * as words from "./words.js";

const SOON_MS = 150;
const FAILURES = 3;
const SHOWN = new Set(["pending", "fetching", "failed", "unrecognised"]);

export class Jobs {
  #section;
  #retry;
  #failed;
  #bars = new Map();
  #timer = null;
  #unfolded = false;

  /** Args: the section element; `retry(job)`; `failed(error)` when they cannot be had. */
  constructor(section, retry, failed) {
    this.#section = section;
    this.#retry = retry;
    this.#failed = failed;
  }

  /** Looks again, soon. */
  refresh() {
    this.#timer ??= setTimeout(() => this.#refresh(), SOON_MS);
  }

  /** Shows how far a download has come. */
  progress({ jobId, receivedBytes, totalBytes }) {
    const bar = this.#bars.get(jobId);
    if (!bar) return this.refresh();
    bar.hidden = false;
    if (totalBytes) {
      bar.max = totalBytes;
      bar.value = receivedBytes;
    } else bar.removeAttribute("value");
  }

  async #refresh() {
    this.#timer = null;
    try {
      const { jobs } = await api.jobs();
      this.#show(jobs.filter(({ state }) => SHOWN.has(state)));
    } catch (error) {
      this.#failed(error);
    }
  }

  #show(jobs) {
    const focused = document.activeElement?.closest("[data-job]")?.dataset.job;
    const failures = jobs.filter(({ state }) => state === "failed" || state === "unrecognised");
    const open = jobs.filter((job) => !failures.includes(job));
    const few = this.#unfolded ? failures : failures.slice(0, FAILURES);
    this.#bars.clear();
    this.#section.hidden = jobs.length === 0;
    this.#section.querySelector("ul").replaceChildren(...[...open, ...few].map((job) => this.#row(job)));
    this.#fold(failures.length - few.length);
    if (focused) this.#section.querySelector(`[data-job="${CSS.escape(focused)}"] button`)?.focus();
  }

  #fold(hidden) {
    const button = this.#section.querySelector(".more");
    button.hidden = hidden === 0;
    button.textContent = `Show ${words.count(hidden, "further failure")}`;
    button.onclick = () => {
      this.#unfolded = true;
      this.refresh();
    };
  }

  #row(job) {
    const name = words.title(job);
    const again = `Try again: ${name}`;
    // What failed where it was made cannot be fetched, however often one tries.
    const retriable = job.state === "failed" && job.status === "succeeded";
    return element(
      "li",
      { class: `job ${job.state}`, "data-job": job.jobId },
      element("p", { class: "title", title: name }, name),
      element("p", { class: "state" }, words.state(job), job.error ? element("span", {}, `: ${job.error}`) : null),
      retriable || job.nextAttemptAt ? iconButton("retry", again, () => this.#retry(job)) : null,
      job.state === "fetching" ? this.#bar(job, name) : null,
    );
  }

  #bar(job, name) {
    const bar = element("progress", { "aria-label": `Saving ${name}` });
    this.#bars.set(job.jobId, bar);
    return bar;
  }
}
