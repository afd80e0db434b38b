"""What is in a dataset and what is wrong with it, told before any hour is spent on training."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from statistics import median
from typing import Any

from trainer import duplicates
from trainer.ingest.layout import Layout
from trainer.ingest.store import Photo, Unreadable
from trainer.split import MIN_PHOTOS, PARTS, SplitError, fingerprint, shares, split

MAX_UNREADABLE = 0.01  # of the photos: more than that is a fault of the data to be mended first
IMBALANCE = 10.0  # photos of the largest label for each of the smallest, from which a person should know of it
LISTED = 1000  # of each kind of trouble; the counts are of all


@dataclass(frozen=True)
class Content:
    """The photos of a dataset, divided, and the report on them. `refusals` say why it cannot be trained on."""

    photos: list[Photo]
    groups: list[int]  # photos of one group may not be divided
    parts: list[str]
    flags: list[str]  # "conflict", "crossing", "copy", "near" or ""
    labels: list[str]
    fingerprint: str
    report: dict[str, Any]

    @property
    def refusals(self) -> list[str]:
        return list(self.report["refusals"])


def examine(
    layout: Layout,
    photos: list[Photo],
    unreadable: list[Unreadable],
    *,
    seed: int,
    fractions: tuple[float, float, float],
) -> Content:
    """Groups the duplicates, divides the photos, and says what a person should know."""
    groups = duplicates.groups([photo.fingerprint for photo in photos])
    contents = [photo.fingerprint.pixels for photo in photos]
    labels = [photo.label for photo in photos]
    supplied = [photo.part for photo in photos] if layout.supplied_parts else None
    refusals = _refusals(layout, photos, unreadable, groups)
    parts = [photo.part or "" for photo in photos]
    if not refusals:
        try:
            parts = split(contents, labels, groups=groups, seed=seed, fractions=fractions, supplied=supplied)
        except SplitError as error:
            refusals.append(str(error))
    division = _division(photos, supplied, seed, fractions)
    return _content(layout, photos, unreadable, groups, parts, division=division, refusals=refusals)


def revise(
    sentence: str, photos: list[Photo], groups: list[int], parts: list[str], *, before: Set[tuple[str, str]]
) -> Content:
    """The same for photos of which a person changed labels or left some out: each keeps the part it has. `before` are
    the labels with the parts in which they had photos: none of these may be emptied, and each label needs its train."""
    layout = Layout(sentence, [], [], (), [])
    refusals = _refusals(layout, photos, [], groups)
    labels = {photo.label for photo in photos}
    there = {(photo.label, part) for photo, part in zip(photos, parts, strict=True)}
    for label, part in sorted((before | {(label, "train") for label in labels}) - there):
        if label in labels:
            lost = " any more" if (label, part) in before else ""
            refusals.append(
                f"The label {label!r} has no photo for {part}{lost}. Import the photos anew to divide them anew."
            )
    division = "Each photo keeps the part that it had."
    return _content(layout, photos, [], groups, parts, division=division, refusals=refusals)


def _content(
    layout: Layout,
    photos: list[Photo],
    unreadable: list[Unreadable],
    groups: list[int],
    parts: list[str],
    *,
    division: str,
    refusals: list[str],
) -> Content:
    labels = [photo.label for photo in photos]
    members = _members(groups)
    flags = _flags(photos, parts, members)
    report = {
        "layout": layout.sentence,
        "division": division,
        "notes": list(layout.notes),
        "refusals": refusals,
        "warnings": [],
        "photos": len(photos),
        "bytes": sum(photo.bytes for photo in photos),
        "sides": _sides(photos),
        "labels": _labels(photos, parts, groups),
        "unreadable": _listed([[one.name, one.code, one.sentence] for one in unreadable]),
        "outside": _listed(layout.outside),
        "unread": _listed(list(layout.unread)),
        **_duplicates(photos, parts, members),
    }
    report["warnings"] = _warnings(report)
    return Content(
        photos=photos,
        groups=groups,
        parts=parts,
        flags=flags,
        labels=sorted(set(labels)),
        fingerprint=fingerprint([photo.fingerprint.pixels for photo in photos], labels, parts),
        report=report,
    )


def _refusals(layout: Layout, photos: list[Photo], unreadable: list[Unreadable], groups: Sequence[int]) -> list[str]:
    """Why nothing may be trained on these photos: sentences that say what to mend."""
    total = len(photos) + len(unreadable)
    if not photos:
        return ["Not one of the photos can be read." if total else "It holds no photo with a label."]
    said = []
    if len(unreadable) > MAX_UNREADABLE * total:
        said.append(
            f"{len(unreadable)} of {total} photos cannot be read, more than 1 in 100. Remove or replace them; the "
            f"first is {unreadable[0].name}: {unreadable[0].sentence}"
        )
    labels = {photo.label for photo in photos}
    for label in sorted({one.label for one in unreadable} - labels):
        said.append(f"Not one photo of the label {label!r} can be read.")
    said += [f"The label {label!r} has no photo: its folder is empty." for label in layout.empty]
    if len(labels) < 2:
        said.append(f"There is one label alone, {min(labels)!r}: a network needs two to tell apart.")
    distinct = _distinct(photos, groups)
    for label in sorted(labels):
        if distinct[label] < MIN_PHOTOS:
            photos_of_it = _count(distinct[label], "distinct photo", "distinct photos")
            files = _count(sum(photo.label == label for photo in photos), "file", "files")
            said.append(
                f"The label {label!r} has {photos_of_it} ({files}): at least {MIN_PHOTOS} are needed, one each for "
                "training, validation and test."
            )
    return said


def _division(
    photos: list[Photo], supplied: Sequence[str | None] | None, seed: int, fractions: tuple[float, float, float]
) -> str:
    if supplied is None:
        train, validation, test = (f"{100 * fraction:g}" for fraction in fractions)
        return f"Divided {train}/{validation}/{test} by content and seed {seed}, duplicates together."
    missing = [part for part in ("validation", "test") if part not in supplied]
    taken = " and ".join(f"{part} ({100 * share:.3g} %)" for part, share in shares(fractions, missing).items())
    return "The parts of the source are kept." + (
        f" Taken from its training photos by seed {seed}: {taken}." if taken else ""
    )


def _sides(photos: list[Photo]) -> dict[str, int]:
    """Pixels of the shorter sides, and of the longest side of all."""
    shorter = [min(photo.width, photo.height) for photo in photos] or [0]
    longest = max((max(photo.width, photo.height) for photo in photos), default=0)
    return {"smallest": min(shorter), "median": int(median(shorter)), "longest": longest}


def _labels(photos: list[Photo], parts: Sequence[str], groups: Sequence[int]) -> list[dict[str, Any]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for photo, part in zip(photos, parts, strict=True):
        counts[photo.label][part] += 1
    distinct = _distinct(photos, groups)
    return [
        {"label": label, "photos": sum(of_part.values()), "distinct": distinct[label]}
        | {part: of_part[part] for part in PARTS}
        for label, of_part in sorted(counts.items())
    ]


def _distinct(photos: list[Photo], groups: Sequence[int]) -> Counter[str]:
    """Groups of each label: a photo and its duplicates count once."""
    return Counter(label for label, _ in {(photo.label, group) for photo, group in zip(photos, groups, strict=True)})


def _members(groups: Sequence[int]) -> list[list[int]]:
    """The indices of each group of two photos or more."""
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    return [indices for indices in members.values() if len(indices) > 1]


def _flags(photos: list[Photo], parts: Sequence[str], members: list[list[int]]) -> list[str]:
    """Why a person should look at a photo: its duplicates bear another label, lie in another part, or are there."""
    flags = [""] * len(photos)
    for indices in members:
        conflict = len({photos[index].label for index in indices}) > 1
        crossing = len({parts[index] for index in indices}) > 1
        seen: set[bytes] = set()
        for index in indices:
            pixels = photos[index].fingerprint.pixels
            plain = "copy" if pixels in seen else "near" if index != indices[0] else ""
            flags[index] = "conflict" if conflict else "crossing" if crossing else plain
            seen.add(pixels)
    return flags


def _duplicates(photos: list[Photo], parts: Sequence[str], members: list[list[int]]) -> dict[str, Any]:
    def named(indices: list[int]) -> list[str]:
        return [photos[index].name for index in indices]

    pixels = [{photos[index].fingerprint.pixels for index in indices} for indices in members]
    return {
        # photos that are there already, to the pixel; photos that are near another one
        "copies": sum(len(indices) - len(distinct) for indices, distinct in zip(members, pixels, strict=True)),
        "near": sum(len(distinct) - 1 for distinct in pixels),
        "groups": _listed([named(indices) for indices in members]),
        "conflicts": _listed(
            [
                [[photos[index].name, photos[index].label] for index in indices]
                for indices in members
                if len({photos[index].label for index in indices}) > 1
            ]
        ),
        "crossing": _listed(
            [
                [[photos[index].name, parts[index]] for index in indices]
                for indices in members
                if len({parts[index] for index in indices}) > 1
            ]
        ),
    }


def _warnings(report: Mapping[str, Any]) -> list[str]:
    """What does not refuse a dataset, and should be known of it."""
    said = []
    if count := report["unreadable"]["count"]:
        said.append(f"{_count(count, 'photo cannot be read and is', 'photos cannot be read and are')} left out.")
    if count := report["outside"]["count"]:
        said.append(f"{_count(count, 'photo has', 'photos have')} no label in this layout, and nothing was read of it.")
    if count := report["unread"]["count"]:
        files = _count(count, "file or folder", "files and folders")
        said.append(f"{files} not read: no JPEG, PNG or WebP by the name, a link, hidden, or too deep.")
    if count := report["conflicts"]["count"]:
        said.append(f"{_count(count, 'picture is', 'pictures are')} there under two labels or more.")
    if count := report["crossing"]["count"]:
        said.append(
            f"{_count(count, 'picture lies', 'pictures lie')} in more than one of the source's own parts: figures "
            "measured there are too high."
        )
    for part in PARTS[1:] if not report["refusals"] else ():
        if without := [row["label"] for row in report["labels"] if not row[part]]:
            labels = _count(len(without), f"label, {without[0]!r}, has", f"labels, such as {without[0]!r}, have")
            said.append(f"{labels} no photo for {part}: no figure measured there tells of that.")
    counts = [row["photos"] for row in report["labels"]]
    if counts and max(counts) >= IMBALANCE * min(counts):
        largest, smallest = (pick(report["labels"], key=lambda row: row["photos"]) for pick in (max, min))
        said.append(
            f"The label {largest['label']!r} has {max(counts) / min(counts):.0f} times the photos of "
            f"{smallest['label']!r}: class weights or oversampling help."
        )
    return said


def _listed(items: list[Any]) -> dict[str, Any]:
    return {"count": len(items), "listed": items[:LISTED]}


def _count(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
