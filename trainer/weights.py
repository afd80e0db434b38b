"""Where the file with a network's published weights is: in a folder for machines without a network, or nowhere yet."""

from pathlib import Path

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")  # from the others, which are pickles, only tensors are read


class WeightsError(ValueError):
    """Pretrained weights that are missing or of another network; the sentence names the file."""


def find(folder: Path, name: str, library_file: str | None) -> Path | None:
    """The file of the network `name` in the folder, by its own name or by its library's; safetensors first."""
    stems = [name] if library_file is None else [name, Path(library_file).stem]
    for suffix in SUFFIXES:
        for stem in stems:
            file = folder / f"{stem}{suffix}"
            if file.is_file():
                return file
    return None


def missing(name: str, library_file: str | None, folder: Path | None) -> str:
    """What to do where there is no such file."""
    if library_file is None:
        return f"There are no published weights of {name}: set weights to random."
    place = f"into {folder}" if folder else "into a folder and set WEIGHTS_DIR to it"
    return f"The pretrained weights of {name} are not here: put the file {library_file} {place}."
