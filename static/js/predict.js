// One photo to the API and its answer back: upload progress, cancelling, and patience with a busy server.
import { Problem } from "./problem.js";

const PASSING = new Map([
  // codes that may be an answer a little later
  ["overloaded", "Very busy just now."],
  ["rate_limited", "Many photos came from here just now."],
  ["starting", "The site is just starting."],
]);
const TRIES = 4;
const LONGEST_WAIT = 60; // seconds; a server that asks for more is told to the person instead

/**
 * The body of a 200 answer. `onUpload(share)` hears 0..1, `onWait(reason, seconds)` each second of a pause.
 * Throws Problem with the server's sentence, or the signal's AbortError.
 */
export async function predict(photo, { url, token, signal, onUpload, onWait }) {
  for (let attempt = 1; ; attempt += 1) {
    const reply = await post(photo, { url, token, signal, onUpload });
    if (reply.status === 200) return reply.body;
    const { code, detail } = reply.body;
    if (!PASSING.has(code) || attempt === TRIES || reply.wait > LONGEST_WAIT) throw new Problem(detail, code);
    for (let left = reply.wait; left > 0; left -= 1) {
      onWait(PASSING.get(code), left);
      await pause(1000, signal);
    }
  }
}

function post(photo, { url, token, signal, onUpload }) {
  // XMLHttpRequest, for fetch still cannot tell how much of a body has left.
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    const settle = (how, what) => {
      signal.removeEventListener("abort", abort);
      how(what);
    };
    signal.addEventListener("abort", abort, { once: true });
    request.upload.onprogress = (event) => event.lengthComputable && onUpload(event.loaded / event.total);
    request.upload.onload = () => onUpload(1);
    request.onload = () => settle(resolve, read(request));
    request.onabort = () => settle(reject, signal.reason);
    request.onerror = () =>
      settle(reject, new Problem("The server could not be reached. Check the connection and try again."));
    request.open("POST", url);
    request.setRequestHeader("Accept", "application/json");
    if (token) request.setRequestHeader("X-CSRFToken", token);
    const form = new FormData();
    form.append("image", photo, "photo"); // the file's own name stays here
    request.send(form);
  });
}

function read(request) {
  const wait = Math.max(1, Math.ceil(Number(request.getResponseHeader("Retry-After")) || 5)); // seconds
  try {
    return { status: request.status, wait, body: JSON.parse(request.responseText) };
  } catch {
    // A proxy in between may answer with a page of its own.
    const detail = `The server answered ${request.status} and nothing readable. Try again in a moment.`;
    return { status: request.status === 200 ? 502 : request.status, wait, body: { code: "unreadable", detail } };
  }
}

/** Resolves after so long; rejects with the signal's AbortError. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal.addEventListener("abort", stop, { once: true });
  });
}
