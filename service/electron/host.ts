/**
 * Keeps an Electron main process attached to its stella-materializer daemon.
 *
 * It attaches to the daemon that runs on a state directory, or starts one that leaves
 * with this process. It comes back when the daemon dies, and acknowledges an update
 * only when the app has shown it. It needs Node alone; example.ts shows the wiring.
 */

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { lstat, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";

import { asError, Line, parse, type Hear } from "./line.js";
import * as protocol from "./protocol.js";

const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 5_000;
/** For a start, and for the first answers, which wait until the daemon has loaded. */
const PATIENCE_MS = 60_000;
/** A daemon that was asked to leave has 5 seconds of its own. */
const FAREWELL_MS = 8_000;

type Command = readonly [program: string, ...flags: string[]];
type Send = (
  channel: "display:update" | "display:removed",
  payload: protocol.DisplayPayload,
  action: protocol.Action,
) => void | Promise<void>;

/** `attached`: requests are answered and updates come. `away`: it tries again. */
export type HostStatus =
  | { state: "attached"; hello: protocol.Hello }
  | { state: "away"; error: Error; retryInMs: number };

export interface HostOptions {
  /** The daemon's state directory, absolute. */
  stateDir: string;
  /** The name under which the daemon remembers what this app has shown. */
  consumer: string;
  /**
   * Starts a daemon when none answers, for example
   * `["stella-materializer", "run", "--convex-url", url]`. Without it, one is awaited.
   */
  command?: Command;
  /**
   * Shows an update: one at a time, in order. Once it has resolved, the update is
   * acknowledged and does not come again; when it rejects, the same one comes again
   * after a while. Only an app that died in between may see its last one twice.
   */
  onUpdate: Hear;
  /**
   * Shows a note to the person: of a job that failed, or of what else needs them. With
   * it the daemon asks this app first. When it rejects, or has not resolved within two
   * seconds, the daemon shows the note itself.
   */
  onNotification?(note: protocol.Note): void | Promise<void>;
  /** Called when the daemon is there, and when it is not, with why. */
  onStatus?(status: HostStatus): void;
}

/**
 * Make the `onUpdate` of an app whose renderer shows payloads: `display:update` gets
 * each payload as it is, with the action beside it. What was removed goes to
 * `display:removed`, since a renderer that shows every payload would show it again.
 */
export function toRenderer(send: Send): Hear {
  return ({ action, payload }) =>
    send(action === "remove" ? "display:removed" : "display:update", payload, action);
}

/** An app's tie to its daemon: begins at once, lasts until `dispose`. */
export class MaterializerHost {
  readonly #options: HostOptions;
  readonly #end = new AbortController();
  #daemon: { child: ChildProcess; gone: Promise<Error> } | undefined;
  #speaking: Line | undefined;
  #away = new Error("no daemon is attached yet");
  #shown: protocol.DisplayUpdate | undefined;
  #acknowledged = 0;

  constructor(options: HostOptions) {
    this.#options = options;
    void this.#run();
  }

  /** Ask the daemon; rejects with Refused, or at once while none is attached. */
  async request<M extends protocol.Request>(
    method: M,
    ...params: Parameters<protocol.Methods[M]>
  ): Promise<ReturnType<protocol.Methods[M]>> {
    if (this.#speaking === undefined) throw this.#away;
    return this.#speaking.call(method, ...params);
  }

  /** Let go; resolves when the daemon that was started here has left. */
  async dispose(): Promise<void> {
    this.#away = new Error("the host was disposed");
    this.#end.abort(this.#away);
    const daemon = this.#daemon;
    if (daemon === undefined) return;
    daemon.child.stdin?.end();
    const late = setTimeout(() => daemon.child.kill("SIGKILL"), FAREWELL_MS);
    await daemon.gone;
    clearTimeout(late);
  }

  async #run(): Promise<void> {
    const { signal } = this.#end;
    for (let failures = 0; ; failures += 1) {
      const began = Date.now();
      const before = this.#acknowledged;
      const error = await this.#attend().catch(asError);
      if (signal.aborted) return;
      const good = this.#acknowledged > before || Date.now() - began > LONGEST_WAIT_MS;
      if (good) failures = 0;
      const longest = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** failures);
      const retryInMs = longest * (0.5 + Math.random() / 2);
      this.#away = new Error(`no daemon is attached: ${error.message}`);
      this.#tell({ state: "away", error, retryInMs });
      await sleep(retryInMs, undefined, { signal }).catch(asError);
      if (signal.aborted) return;
    }
  }

  /** Stay with a daemon until it is lost, and return why. */
  async #attend(): Promise<Error> {
    const { consumer, onNotification } = this.#options;
    const { endpoint, line: speaking } = await this.#reach();
    // Two lines: one is read at the app's pace, answers on the other never wait for it.
    const lines = [speaking];
    const end = (why: Error): void => lines.forEach((line) => line.end(why));
    const silent = new Error("the daemon does not answer");
    const impatience = setTimeout(end, PATIENCE_MS, silent);
    try {
      agree(endpoint.protocol);
      const me = { client: consumer, protocol: protocol.PROTOCOL };
      const hello = await speaking.call("hello", me);
      agree(hello.protocol);
      const update: Hear = (sent) => this.#show(sent, speaking);
      const listening = await Line.open(endpoint, this.#end.signal, { update });
      lines.push(listening);
      this.#speaking = speaking;
      this.#tell({ state: "attached", hello });
      await listening.call("display.subscribe", { consumer });
      if (onNotification !== undefined)
        await speaking.call("events.subscribe", {
          topics: ["notification"],
          presents: true,
        });
      clearTimeout(impatience);
      return await Promise.race([speaking.ended, listening.ended]);
    } finally {
      clearTimeout(impatience);
      end(new Error("the daemon has gone"));
      // What is being shown is shown to its end before it can come again.
      await Promise.all(lines.map((line) => line.ended));
      this.#speaking = undefined;
    }
  }

  async #show(update: protocol.DisplayUpdate, speaking: Line): Promise<void> {
    const { seq, payload } = update;
    // A daemon that died before it wrote down our word for it sends it again.
    const last = this.#shown;
    const again = seq === last?.seq && isDeepStrictEqual(payload, last.payload);
    if (!again) await this.#options.onUpdate(update);
    this.#shown = update;
    await speaking.call("display.ack", { consumer: this.#options.consumer, seq });
    this.#acknowledged += 1;
  }

  /** Have the app show a note, and say so; of what it cannot show, nothing is said. */
  async #present({ type, data }: protocol.NotificationEvent): Promise<void> {
    const { title, body, jobId, number } = data;
    if (type !== "show" || number === undefined) return;
    await this.#options.onNotification?.({ title, body, jobId });
    await this.#speaking?.call("notification.shown", { number });
  }

  async #reach(): Promise<{ endpoint: protocol.Endpoint; line: Line }> {
    const { command, stateDir } = this.#options;
    const { signal } = this.#end;
    const event = (sent: protocol.NotificationEvent): void =>
      void this.#present(sent).catch(asError); // then the daemon shows it itself
    let endpoint: protocol.Endpoint;
    try {
      endpoint = await readEndpoint(stateDir);
      return { endpoint, line: await Line.open(endpoint, signal, { event }) };
    } catch (cause) {
      if (command === undefined || this.#daemon !== undefined) {
        throw new Error(`no daemon answers: ${asError(cause).message}`, { cause });
      }
    }
    signal.throwIfAborted();
    endpoint = await this.#start(command);
    return { endpoint, line: await Line.open(endpoint, signal, { event }) };
  }

  /** Start a daemon, and return where it listens when it says that it is ready. */
  async #start([program, ...flags]: Command): Promise<protocol.Endpoint> {
    const manner = ["--ready-json", "--exit-with-parent"];
    const where = ["--state-dir", this.#options.stateDir];
    const all = [...flags, ...manner, ...where];
    const child = spawn(program, all, { windowsHide: true });
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said = (said + text).slice(-2_000);
    });
    child.stdin.on("error", () => {}); // a daemon that has gone reads no more
    const gone = new Promise<Error>((resolve) => {
      child.once("error", ({ message, code }: NodeJS.ErrnoException) => {
        const why = code === "ENOENT" ? "there is no such program" : message;
        resolve(new Error(`the daemon cannot be started with ${program}: ${why}`));
      });
      child.once("close", (code, signal) => {
        const words = said.trim().split("\n").at(-1) ?? "";
        resolve(new Error(`the daemon ended (${signal ?? `exit ${code}`}): ${words}`));
      });
    });
    this.#daemon = { child, gone };
    void gone.then(() => (this.#daemon = undefined));
    const late = new Error("the daemon does not become ready");
    const ready = await Promise.race([
      once(createInterface({ input: child.stdout }), "line"),
      gone,
      sleep(PATIENCE_MS, late, { ref: false }),
    ]);
    try {
      if (ready instanceof Error) throw ready;
      return parse<{ endpoint: protocol.Endpoint }>(String(ready[0])).endpoint;
    } catch (error) {
      child.kill("SIGKILL");
      throw error;
    }
  }

  #tell(status: HostStatus): void {
    // What the app's own function throws is the app's to see, and does not end this.
    queueMicrotask(() => this.#options.onStatus?.(status));
  }
}

function agree(theirs: number): void {
  if (theirs === protocol.PROTOCOL) return;
  throw new Error(
    `the daemon speaks protocol ${theirs}, this app ${protocol.PROTOCOL}:` +
      " update the older of the two",
  );
}

async function readEndpoint(stateDir: string): Promise<protocol.Endpoint> {
  const file = join(stateDir, "materializer", "endpoint.json");
  const { uid, mode } = await lstat(file);
  const me = process.getuid?.(); // Windows keeps it in the user's own directory
  if (me !== undefined && (uid !== me || mode & 0o022))
    throw new Error(`${file} is not trusted: others can write it`);
  return parse(await readFile(file, "utf8"));
}
