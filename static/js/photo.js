// A chosen file, made ready to send: refused in words when hopeless, shrunk when above the limit, else untouched.
import { Problem } from "./problem.js";

const HEIC_BRANDS = new Set(["heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "mif1", "msf1"]);
const LONGER_SIDE = 2560; // pixels: far more than any network here looks at, and a JPEG of 1 to 2 MB
const QUALITY = 0.9;

/** {photo: Blob, note: string}. `note` says what was done to the picture, "" where nothing was. Throws Problem. */
export async function prepare(file, maxBytes) {
  if (await isHeic(file)) {
    throw new Problem(
      "This is a HEIC photo from an iPhone, which this site cannot read. Export it as JPEG, " +
        "or set Settings › Camera › Formats to “Most Compatible”.",
    );
  }
  if (file.size <= maxBytes) return { photo: file, note: "" };
  const { photo, width, height } = await shrink(file);
  const note =
    `Your photo has ${megabytes(file.size)} and the limit is ${megabytes(maxBytes)}, ` +
    `so it was shrunk here, in your browser, to ${width} × ${height} pixels before it was sent.`;
  return { photo, note };
}

async function isHeic(file) {
  let head;
  try {
    head = new Uint8Array(await file.slice(0, 12).arrayBuffer());
  } catch {
    throw new Problem("That could not be read as a file. Choose a single photo, not a folder.");
  }
  const text = String.fromCharCode(...head);
  return text.slice(4, 8) === "ftyp" && HEIC_BRANDS.has(text.slice(8, 12));
}

async function shrink(file) {
  let picture;
  try {
    picture = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Problem(
      `This file has ${megabytes(file.size)} and your browser cannot read it as a picture. ` +
        "Choose a JPEG, PNG or WebP photo.",
    );
  }
  const scale = Math.min(1, LONGER_SIDE / Math.max(picture.width, picture.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // what the server lays under transparency as well
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
  const photo = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
  if (!photo) throw new Problem("Your browser could not shrink this photo. Make it smaller and try again.");
  return { photo, width: canvas.width, height: canvas.height };
}

function megabytes(bytes) {
  return `${(bytes / 1024 / 1024).toFixed(1).replace(/\.0$/, "")} MB`;
}
