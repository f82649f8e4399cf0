/** What a person can do with outputs and jobs, and what comes of it. */

import * as api from "./api.js";
import { element } from "./element.js";
import * as words from "./words.js";

export class Actions {
  #say;
  #dialog;
  #changed;

  /**
   * Args: the dialog that asks before a removal; `say` tells the person; `changed(jobId)`
   * is called when the outputs of a job, or the job, are not as they were.
   */
  constructor(dialog, say, changed) {
    this.#dialog = dialog;
    this.#say = say;
    this.#changed = changed;
  }

  /** Shows the first of these outputs in its folder. */
  reveal = ({ items: [item] }) =>
    this.#try(async () => {
      await api.reveal(item.id);
      this.#say("Opened in the file manager.");
    });

  /** Copies a picture itself; of anything else its path. */
  copy = ({ items: [item] }) =>
    this.#try(async () => {
      if (item.kind === "image" && !item.missing && (await copiedPicture(item)))
        return this.#say("Copied the image.");
      await navigator.clipboard.writeText(item.path);
      this.#say("Copied the path.");
    });

  /** Asks, and removes these outputs if the person says so. */
  remove = (group) =>
    this.#try(async () => {
      const answer = await this.#ask(group.items);
      if (answer === null) return;
      for (const { id, jobId } of group.items) {
        await api.remove(id, answer.deleteFile);
        this.#changed(jobId);
      }
      const files = group.items.length > 1 ? "files" : "file";
      this.#say(answer.deleteFile ? `Removed, and the ${files} deleted.` : "Removed from the gallery.");
    });

  /** Lets a failed job be tried again. */
  retry = (job) =>
    this.#try(async () => {
      await api.retry(job.jobId);
      this.#say("Trying again.");
      this.#changed(job.jobId);
    });

  #ask(items) {
    const files = items.length > 1 ? `${items.length} files stay` : "file stays";
    const deleted = items.length > 1 ? `${items.length} files are deleted` : "file is deleted";
    const stays = `The ${files} on this computer.`;
    const outcome = element("p", { id: "outcome", "aria-live": "polite" }, stays);
    const box = element("input", {
      type: "checkbox",
      name: "delete",
      change: () => {
        outcome.textContent = box.checked ? `The ${deleted} from this computer. This cannot be undone.` : stays;
      },
    });
    const what = items.length > 1 ? words.count(items.length, "image") : `“${words.title(items[0])}”`;
    const too = items.length > 1 ? "Delete the files too" : `Delete the file ${items[0].fileName} too`;
    this.#dialog.replaceChildren(
      element(
        "form",
        { method: "dialog" },
        element("h2", { id: "question" }, `Remove ${what}?`),
        element("p", {}, "It leaves the gallery and does not come back."),
        element("label", {}, box, too),
        outcome,
        element(
          "div",
          { class: "choices" },
          element("button", { value: "" }, "Keep"),
          element("button", { value: "remove", class: "strong" }, "Remove"),
        ),
      ),
    );
    this.#dialog.returnValue = "";
    this.#dialog.showModal();
    return new Promise((decided) => {
      const done = () => decided(this.#dialog.returnValue ? { deleteFile: box.checked } : null);
      this.#dialog.addEventListener("close", done, { once: true });
    });
  }

  async #try(act) {
    try {
      await act();
    } catch (error) {
      this.#say(error.message);
    }
  }
}

/** Returns false where the browser does not take pictures. Every browser takes PNG. */
async function copiedPicture(item) {
  if (!globalThis.ClipboardItem) return false;
  try {
    const picture = new ClipboardItem({ "image/png": asPng(item) });
    await navigator.clipboard.write([picture]);
    return true;
  } catch (error) {
    if (error instanceof api.Refused) throw error;
    return false;
  }
}

async function asPng(item) {
  const blob = await api.bytes(item);
  if (blob.type === "image/png") return blob;
  const picture = element("img", { src: item.url });
  await picture.decode();
  const { naturalWidth: width, naturalHeight: height } = picture;
  const canvas = element("canvas", { width, height });
  canvas.getContext("2d").drawImage(picture, 0, 0);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}
