/** One connection to the daemon: JSON-RPC 2.0, one object a line. */

import { once } from "node:events";
import { createConnection, type Socket } from "node:net";
import { addAbortSignal } from "node:stream";

import type { DisplayUpdate, Endpoint, Methods, NotificationEvent } from "./protocol.js";

const LONGEST_LINE = 64 << 20;

export type Hear = (update: DisplayUpdate) => void | Promise<void>;

/** Who hears what comes unasked; the line is read on when they have resolved. */
export interface Ears {
  update?: Hear;
  event?: (event: NotificationEvent) => void;
}

interface Message {
  method?: string;
  params?: unknown;
  id?: unknown;
  result?: unknown;
  error?: { code: number; message: string };
}

/** The daemon said no; `code` is JSON-RPC's, or one of service/IPC.md. */
export class Refused extends Error {
  readonly code: number;

  constructor({ code, message }: { code: number; message: string }) {
    super(message);
    this.code = code;
  }
}

type Settle = (result: unknown, why?: Error) => void;

/** A connection. */
export class Line {
  /** Resolves, with why, when it has ended and nobody hears of it any more. */
  readonly ended: Promise<Error>;
  readonly #socket: Socket;
  readonly #waiting = new Map<unknown, Settle>();
  #lastId = 0;
  #why: Error | undefined;

  private constructor(socket: Socket, ears: Ears) {
    this.#socket = socket.setEncoding("utf8");
    socket.on("error", () => {}); // the reading end tells it
    this.ended = this.#listen(ears).catch((why) => this.end(asError(why)));
  }

  /** Connect; `signal` ends the line whenever it comes. */
  static async open(
    { path }: Endpoint,
    signal: AbortSignal,
    ears: Ears = {},
  ): Promise<Line> {
    // The option of the same name would never let go of the signal.
    const socket = addAbortSignal(signal, createConnection(path));
    await once(socket, "connect");
    return new Line(socket, ears);
  }

  /** Call a method; rejects with Refused, or with why the line has ended. */
  call<M extends keyof Methods>(
    method: M,
    ...[params = {}]: Parameters<Methods[M]>
  ): Promise<ReturnType<Methods[M]>> {
    return new Promise((resolve, reject) => {
      if (this.#why !== undefined) return reject(this.#why);
      const id = ++this.#lastId;
      this.#waiting.set(id, (result, why) =>
        why ? reject(why) : resolve(result as ReturnType<Methods[M]>),
      );
      this.#socket.write(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`);
    });
  }

  /** Close it and fail what waits, for the first reason that was given. */
  end(why: Error): Error {
    this.#why ??= why;
    for (const settle of this.#waiting.values()) settle(undefined, this.#why);
    this.#waiting.clear();
    this.#socket.destroy();
    return this.#why;
  }

  async #listen(ears: Ears): Promise<never> {
    let rest = "";
    for await (const chunk of this.#socket as AsyncIterable<string>) {
      const [first = "", ...lines] = chunk.split("\n");
      rest += first;
      for (const line of lines) {
        await this.#take(parse<Message>(rest), ears);
        rest = line;
      }
      if (rest.length > LONGEST_LINE) throw new Error("the daemon's line has no end");
    }
    throw new Error("the daemon has gone");
  }

  async #take(message: Message, ears: Ears): Promise<void> {
    const { method, params, id, result, error } = message;
    if (method === "display.update") return ears.update?.(params as DisplayUpdate);
    if (method === "event") return ears.event?.(params as NotificationEvent);
    const settle = this.#waiting.get(id);
    this.#waiting.delete(id);
    settle?.(result, error && new Refused(error));
  }
}

/** Read JSON that must be an object; the error shows nothing of what came. */
export function parse<T extends object>(text: string): T {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value as T;
  } catch {
    // Its own words would show a piece of the text.
  }
  throw new Error("the daemon sent a line that is no JSON object");
}

/** Return what was thrown as an Error. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
