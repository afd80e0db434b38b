// Sends a chosen zip in pieces when the form is sent, goes on where a broken connection stopped, then sends the form.
import { ask, inPieces, megabytes } from "./pieces.js";
import { Problem } from "./problem.js";

const form = document.getElementById("import-form");
const chosen = document.getElementById("zip");
const words = document.getElementById("upload-words");
const bar = document.getElementById("upload-bar");
const submit = document.getElementById("import-submit");
const maxBytes = Number(form.dataset.maxBytes);

async function upload(file) {
  if (file.size > maxBytes) throw new Problem(`This file has ${megabytes(file.size)}; at most ${megabytes(maxBytes)} are taken.`);
  bar.hidden = false;
  const headers = {
    Accept: "application/json",
    "Content-Type": "application/octet-stream",
    "X-CSRFToken": form.elements.csrfmiddlewaretoken.value,
  };
  await inPieces(file, {
    pieceBytes: () => Number(form.dataset.pieceBytes),
    async send(body, offset) {
      const address = `${form.dataset.upload}?offset=${offset}&total=${file.size}`;
      return (await ask(address, { method: "POST", headers, body })).received;
    },
    onSent(bytes, seconds) {
      bar.value = bytes / file.size;
      words.textContent = `${megabytes(bytes)} of ${megabytes(file.size)} sent, ${seconds} seconds left`;
    },
    onPause: () => { words.textContent = "The connection broke; trying again …"; },
  });
}

form.addEventListener("submit", async (event) => {
  const file = chosen.files[0];
  if (!file || form.elements.server.value || form.elements.builtin.value) return; // they come from elsewhere
  event.preventDefault();
  submit.disabled = true;
  try {
    await upload(file);
    form.elements.upload_name.value = file.name;
    form.submit();
  } catch (error) {
    words.textContent = error.message;
    submit.disabled = false;
  }
});
