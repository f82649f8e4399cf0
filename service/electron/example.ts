/** How an Electron main process uses host.ts: copy what fits. */

import { homedir } from "node:os";
import { join } from "node:path";

import { app, BrowserWindow, ipcMain, Notification } from "electron";

import { MaterializerHost, toRenderer } from "./host.js";

async function main(): Promise<void> {
  await app.whenReady();
  const window = new BrowserWindow();
  // An update that no renderer has heard would be lost to it: none is shown before.
  const loaded = window.loadFile("index.html");

  const host = new MaterializerHost({
    stateDir: join(homedir(), ".stella", "state"),
    consumer: "desktop app",
    command: ["stella-materializer", "run"],
    onUpdate: toRenderer(async (channel, payload, action) => {
      await loaded;
      window.webContents.send(channel, payload, action);
    }),
    onNotification: ({ title, body }) =>
      new Promise((resolve, reject) => {
        const note = new Notification({ title, body });
        note.once("show", () => resolve());
        note.once("failed", (_, why) => reject(new Error(why)));
        note.once("click", () => window.show());
        note.show();
      }),
    onStatus: (status) => {
      if (status.state === "away") console.warn(status.error.message);
    },
  });

  ipcMain.handle("gallery:list", (_, cursor?: string) =>
    host.request("gallery.list", cursor === undefined ? {} : { cursor }),
  );

  app.once("will-quit", (event) => {
    event.preventDefault(); // until the daemon that was started here has left
    void host.dispose().finally(() => app.quit());
  });
}

void main();
