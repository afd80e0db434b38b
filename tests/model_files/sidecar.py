"""spec.json with one thing wrong."""

import json
from pathlib import Path

from tests.model_files.damage import GRAPH, SPEC, WEIGHTS, case, document, seal


def put_text(folder: Path, old: str, new: str) -> None:
    text = (folder / SPEC).read_text()
    assert old in text
    (folder / SPEC).write_text(text.replace(old, new, 1))


@case("spec.json cannot be read")
def missing_spec(folder: Path) -> None:
    (folder / SPEC).unlink()


@case("spec.json is larger than")
def spec_of_100_megabytes(folder: Path) -> None:
    with (folder / SPEC).open("wb") as out:
        out.truncate(100_000_000)  # a hole: it takes no space


@case("nested too deeply")
def spec_nested_deeply(folder: Path) -> None:
    (folder / SPEC).write_bytes(b"[" * 500_000)


@case("must be an object")
def spec_that_is_a_list(folder: Path) -> None:
    (folder / SPEC).write_text("[]")


@case("format must be 1")
def unknown_format(folder: Path) -> None:
    seal(folder, format=2)


@case("the key 'name' occurs twice")
def spec_key_twice(folder: Path) -> None:
    put_text(folder, '"name"', '"name": "other", "name"')


@case("NaN is not a number of JSON")
def spec_with_nan(folder: Path) -> None:
    put_text(folder, '"temperature": 1.5', '"temperature": NaN')


@case("a number is too large")
def spec_with_an_infinite_number(folder: Path) -> None:
    put_text(folder, '"temperature": 1.5', '"temperature": 1e999')


@case("spec.json cannot be read")
def spec_with_a_number_of_a_million_digits(folder: Path) -> None:
    put_text(folder, '"temperature": 1.5', f'"temperature": {"9" * 1_000_000}')


@case("a text holds a control character")
def spec_with_nul_in_a_text(folder: Path) -> None:
    put_text(folder, '"beagle"', '"bea\\u0000gle"')


@case(r"golden\[\].logits must be a list of 6 numbers")
def one_label_too_many(folder: Path) -> None:
    seal(folder, labels=[*document(folder)["labels"], "zebra"], quality=None)


@case("has no layer with 6 outputs")
def one_label_too_many_in_every_place(folder: Path) -> None:
    spec = document(folder)
    golden = [{"seed": g["seed"], "logits": [*g["logits"], 0.0]} for g in spec["golden"]]
    seal(folder, labels=[*spec["labels"], "zebra"], golden=golden, quality=None)


@case("the label 'beagle' occurs twice")
def label_twice(folder: Path) -> None:
    seal(folder, labels=["beagle", "beagle", "chow", "papillon", "pug"])


@case("labels must be texts")
def label_that_is_empty(folder: Path) -> None:
    seal(folder, labels=["beagle", " ", "chow", "papillon", "pug"])


@case("architecture.name must be a text of the form")
def unknown_architecture(folder: Path) -> None:
    seal(folder, architecture={"name": "os.system", "head": {"kind": "linear"}})


@case("'net9000' is not one that this program knows")
def architecture_nobody_knows(folder: Path) -> None:
    seal(folder, architecture={"name": "net9000", "head": {"kind": "linear"}})


@case("preprocessing: crop must be")
def preprocessing_out_of_range(folder: Path) -> None:
    seal(folder, preprocessing=document(folder)["preprocessing"] | {"crop": 10**9, "resize": 10**9})


@case("preprocessing: std must be")
def preprocessing_that_divides_by_zero(folder: Path) -> None:
    seal(folder, preprocessing=document(folder)["preprocessing"] | {"std": [0.0, 1.0, 1.0]})


@case("preprocessing: mean must be")
def preprocessing_with_a_text(folder: Path) -> None:
    seal(folder, preprocessing=document(folder)["preprocessing"] | {"mean": "grey"})


@case("name must be a text of the form")
def path_in_the_name(folder: Path) -> None:
    seal(folder, name="../../outside")


@case("files must be about")
def path_in_the_files(folder: Path) -> None:
    spec = document(folder)
    spec["files"]["../../outside"] = spec["files"][GRAPH]
    (folder / SPEC).write_text(json.dumps(spec))


@case("files.model.onnx is missing")
def files_without_the_graph(folder: Path) -> None:
    spec = document(folder)
    del spec["files"][GRAPH]
    (folder / SPEC).write_text(json.dumps(spec))


@case("tensors is missing")
def files_without_the_list_of_tensors(folder: Path) -> None:
    spec = document(folder)
    del spec["files"][WEIGHTS]["tensors"]
    (folder / SPEC).write_text(json.dumps(spec))


@case("calibration.temperature must be")
def temperature_of_zero(folder: Path) -> None:
    seal(folder, calibration=document(folder)["calibration"] | {"temperature": 0})


@case("calibration is missing")
def no_calibration(folder: Path) -> None:
    spec = document(folder)
    del spec["calibration"]
    (folder / SPEC).write_text(json.dumps(spec))


@case("quality.top1.correct must be a whole number from 0 to 50")
def more_right_answers_than_photos(folder: Path) -> None:
    quality = document(folder)["quality"]
    seal(folder, quality=quality | {"top1": quality["top1"] | {"correct": 51}})


@case("golden must be a list of 1 to 16")
def nothing_golden(folder: Path) -> None:
    seal(folder, golden=[])


@case("a golden logit is off by")
def golden_logit_changed(folder: Path) -> None:
    golden = document(folder)["golden"]
    golden[1]["logits"][3] += 0.01
    seal(folder, golden=golden)
