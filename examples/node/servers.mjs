// Starts `sasl serve` for tests, and asks its control endpoint.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

export async function start(...options) {
  const child = spawn("sasl", ["serve", ...options], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(createInterface({ input: child.stdout }), "line");
  const ready = JSON.parse(line);

  // Ask the control endpoint; an answer that is no success is an error.
  async function control(method, path, body) {
    const answer = await fetch(`${ready.control.url}/api/v1${path}`, {
      method,
      headers: { Authorization: `Bearer ${ready.control.key}`, "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : undefined;
  }

  async function stop() {
    child.kill("SIGTERM");
    await once(child, "exit");
  }

  return { ...ready, tls: { ca: readFileSync(ready.ca) }, control, stop };
}
