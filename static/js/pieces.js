// What is sent to the server for long: asked patiently, and a large file in pieces that go on where a connection broke.
import { Problem } from "./problem.js";

const TRIES = 8; // of one request, each after a longer pause
const LONGEST_PAUSE = 30; // seconds

class Again extends Error {
  constructor(sentence, seconds) {
    super(sentence);
    this.seconds = seconds; // to wait, as the server says
  }
}

/** The JSON of an answer, also of the one that says where a file has to be gone on with. Throws Problem for a refusal
 * and another error for what may pass. */
export async function ask(address, options) {
  const answer = await fetch(address, options);
  const said = await answer.json();
  if (answer.ok || (answer.status === 409 && "received" in said)) return said;
  const passing = answer.status === 429 || said.code === "request_in_progress" || answer.status >= 500;
  if (!passing || said.code === "storage_full") throw new Problem(said.detail, said.code);
  throw new Again(said.detail, Number(answer.headers.get("Retry-After")) || null);
}

/** What `act` gives, after as many tries as it takes. `onPause` hears of each that failed. Throws Problem. */
export async function patiently(act, onPause) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await act();
    } catch (error) {
      if (error instanceof Problem) throw error;
      if (attempt === TRIES) throw new Problem("The connection broke. Send it again: it goes on where it stopped.");
      onPause();
      const seconds = error.seconds ?? Math.min(LONGEST_PAUSE, 2 ** (attempt - 1));
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
    }
  }
}

/** Sends a file in pieces; `onSent(bytes, secondsLeft)` hears of each. `send(piece, offset)` gives what the server has. */
export async function inPieces(file, { pieceBytes, send, onSent, onPause }) {
  const began = performance.now();
  for (let offset = 0; offset < file.size; ) {
    const from = offset;
    offset = await patiently(() => send(file.slice(from, from + pieceBytes()), from), onPause);
    if (offset > file.size) throw new Problem("Another file was sent from this page. Reload it.");
    onSent(offset, Math.ceil(((performance.now() - began) / 1000) * (file.size / offset - 1)));
  }
}

export function megabytes(bytes) {
  return `${(bytes / 1024 ** 2).toFixed(1)} MB`;
}
