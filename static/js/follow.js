// Asks for a state again and again, shows each, and stops after one that is no longer active.
const HIDDEN = 10_000; // milliseconds between two questions while nobody sees the page

/** `ask()` is the address; `ended` is told the last state instead of `show`, and `away` that the site does not answer. */
export function follow(ask, { show, ended = show, away, every, wait = 0 }) {
  async function state() {
    const answer = await fetch(ask(), { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(answer.statusText);
    return answer.json();
  }

  async function look() {
    const found = await state().catch(() => null);
    if (found?.active ?? true) setTimeout(look, document.hidden ? HIDDEN : every);
    if (found === null) away();
    else if (found.active) show(found);
    else ended(found);
  }

  setTimeout(look, wait);
}
