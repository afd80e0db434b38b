// Files dropped anywhere on a page, those within dropped folders too, by their paths.
const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
const JUNK = /(^|\/)(\.DS_Store|Thumbs\.db|desktop\.ini|\._[^/]*|__MACOSX\/.*)$/; // what operating systems leave

/** `onFiles([{file, name}])` hears of what is dropped. */
export function onDrop(onFiles) {
  let depth = 0; // dragenter and dragleave come for every element under the pointer
  const dragging = (by) => {
    depth = by ? Math.max(0, depth + by) : 0;
    document.body.classList.toggle("dragging", depth > 0);
  };
  addEventListener("dragenter", (event) => carriesFiles(event) && dragging(1));
  addEventListener("dragleave", (event) => carriesFiles(event) && dragging(-1));
  addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  });
  addEventListener("drop", async (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    dragging(0);
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()); // now: later they are gone
    const files = [...event.dataTransfer.files];
    if (entries.some((entry) => entry?.isDirectory)) {
      const found = [];
      for (const entry of entries) if (entry) await walk(entry, "", found);
      onFiles(found.filter(({ name }) => !JUNK.test(name)));
    } else {
      onFiles(named(files));
    }
  });
}

/** Chosen files by their names, or by their paths where a folder was chosen. */
export function named(files) {
  return [...files]
    .map((file) => ({ file, name: file.webkitRelativePath || file.name }))
    .filter(({ name }) => !JUNK.test(name));
}

async function walk(entry, path, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.push({ file, name: path + entry.name });
    return;
  }
  const reader = entry.createReader();
  const inside = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at a time
    if (!some.length) break;
    inside.push(...some);
  }
  inside.sort((one, other) => (one.name < other.name ? -1 : 1));
  for (const each of inside) await walk(each, `${path}${entry.name}/`, found);
}
