// Sends a chosen zip in pieces when the form is sent, goes on where a broken connection stopped, then sends the form.
const TRIES = 6; // of one piece, each after a longer pause
const form = document.getElementById("import-form");
const chosen = document.getElementById("zip");
const words = document.getElementById("upload-words");
const bar = document.getElementById("upload-bar");
const submit = document.getElementById("import-submit");
const pieceBytes = Number(form.dataset.pieceBytes);
const maxBytes = Number(form.dataset.maxBytes);

class Refused extends Error {}

async function send(file, offset) {
  const answer = await fetch(`${form.dataset.upload}?offset=${offset}&total=${file.size}`, {
    method: "POST",
    headers: {
      Accept: "application/json",
      "Content-Type": "application/octet-stream",
      "X-CSRFToken": form.elements.csrfmiddlewaretoken.value,
    },
    body: file.slice(offset, offset + pieceBytes),
  });
  const said = await answer.json();
  if (answer.ok || answer.status === 409) return said.received;
  if (answer.status < 500 || said.code === "storage_full") throw new Refused(said.detail);
  throw new Error(said.detail);
}

async function patiently(file, offset) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await send(file, offset);
    } catch (error) {
      if (error instanceof Refused) throw error;
      if (attempt === TRIES) throw new Refused("The connection broke. Send the form again: it goes on where it stopped.");
      words.textContent = "The connection broke; trying again …";
      await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** attempt));
    }
  }
}

async function upload(file) {
  if (file.size > maxBytes) throw new Refused(`This file has ${megabytes(file.size)}; at most ${megabytes(maxBytes)} are taken.`);
  bar.hidden = false;
  const began = performance.now();
  for (let offset = 0; offset < file.size; ) {
    offset = await patiently(file, offset);
    if (offset > file.size) throw new Refused("Another file was sent from this page. Reload it.");
    bar.value = offset / file.size;
    const seconds = Math.ceil(((performance.now() - began) / 1000) * (file.size / offset - 1));
    words.textContent = `${megabytes(offset)} of ${megabytes(file.size)} sent, ${seconds} seconds left`;
  }
}

function megabytes(bytes) {
  return `${(bytes / 1024 ** 2).toFixed(1)} MB`;
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
