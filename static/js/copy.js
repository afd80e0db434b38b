// Copy buttons: data-copy names the element whose text is copied.
const SHOWN = 1600; // milliseconds

/** Copies and says so on the button itself for a moment. */
export async function copy(button, text) {
  if (button.dataset.said) return;
  const said = [...button.childNodes];
  try {
    await navigator.clipboard.writeText(text);
    button.dataset.said = "Copied";
  } catch {
    button.dataset.said = "Not allowed here"; // a browser may forbid the clipboard
  }
  button.replaceChildren(button.dataset.said);
  setTimeout(() => {
    button.replaceChildren(...said);
    delete button.dataset.said;
  }, SHOWN);
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", () => copy(button, document.getElementById(button.dataset.copy).textContent));
}
