// The link to a network's layers follows what is filled in above it.
const link = document.getElementById("layers");
const fields = ["dataset", "architecture", "head", "image_size", "trainable", "last_blocks"];

link.addEventListener("click", () => {
  const form = link.closest("form");
  const query = new URLSearchParams(fields.map((name) => [name, form.elements[name]?.value ?? ""]));
  link.href = `${link.pathname}?${query}`;
});
