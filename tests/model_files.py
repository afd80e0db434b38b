"""Model files that must never answer: each a sound model with one thing wrong, most with the digests set right again.

`HOSTILE[name]` damages the model in a folder; `SENTENCES[name]` is what the refusal must say.
"""

import hashlib
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from safetensors.numpy import load_file, save_file

from tests.artifacts import make_graph, make_weights

Damage = Callable[[Path], None]
HOSTILE: dict[str, Damage] = {}
SENTENCES: dict[str, str] = {}
WEIGHTS, GRAPH, SPEC = "weights.safetensors", "model.onnx", "spec.json"


def case(sentence: str) -> Callable[[Damage], Damage]:
    def add(damage: Damage) -> Damage:
        HOSTILE[damage.__name__] = damage
        SENTENCES[damage.__name__] = sentence
        return damage

    return add


class Payload:
    """Unpickled, it leaves a file: the proof that code ran."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def marker(folder: Path) -> Path:
    """What a payload in this folder would create."""
    return folder.parent / "code-ran"


def document(folder: Path) -> dict[str, Any]:
    return json.loads((folder / SPEC).read_text())


def seal(folder: Path, **changes: Any) -> None:
    """Writes spec.json with the digests that the files have now: what an attacker does as well."""
    spec = document(folder) | changes
    for name, entry in spec["files"].items():
        if (folder / name).is_file():
            data = (folder / name).read_bytes()
            entry |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (folder / SPEC).write_text(json.dumps(spec))


def put(folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(data)
    seal(folder)


def archive(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        for name, data in members.items():
            zipped.writestr(name, data)
    return out.getvalue()


# --- code in disguise ---------------------------------------------------------------------------------------------
@case("header would have")
def pickle_as_weights(folder: Path) -> None:
    put(folder, WEIGHTS, pickle.dumps(Payload(marker(folder))))


@case("model.onnx cannot be used")
def pickle_as_graph(folder: Path) -> None:
    put(folder, GRAPH, pickle.dumps(Payload(marker(folder))))


@case("spec.json cannot be read")
def pickle_as_spec(folder: Path) -> None:
    (folder / SPEC).write_bytes(pickle.dumps(Payload(marker(folder))))


@case("header would have")
def torch_zip_as_weights(folder: Path) -> None:
    pickled = pickle.dumps(Payload(marker(folder)))
    put(folder, WEIGHTS, archive({"archive/data.pkl": pickled, "archive/version": b"3\n"}))


@case("model.onnx cannot be used")
def torchscript_as_graph(folder: Path) -> None:
    code = b"import os\ndef forward(self, x):\n  return os.system('touch code-ran')\n"
    put(folder, GRAPH, archive({"net/code/net.py": code, "net/constants.pkl": pickle.dumps(Payload(marker(folder)))}))


@case("header would have")
def joblib_as_weights(folder: Path) -> None:
    put(folder, WEIGHTS, zlib.compress(pickle.dumps(Payload(marker(folder)))))


@case("header would have")
def numpy_objects_as_weights(folder: Path) -> None:
    out = io.BytesIO()
    np.save(out, np.array([Payload(marker(folder))]), allow_pickle=True)
    put(folder, WEIGHTS, out.getvalue())


# --- weights ------------------------------------------------------------------------------------------------------
def safetensors(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: list[int], start: int, stop: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def change_weights(folder: Path, change: Callable[[dict[str, np.ndarray]], Any]) -> None:
    weights = {name: value.copy() for name, value in load_file(folder / WEIGHTS).items()}
    change(weights)
    save_file(weights, folder / WEIGHTS)
    seal(folder)


@case("header would have 9223372036854775808 bytes")
def header_of_eight_exabytes(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors({}, length=2**63))


@case("header would have 100000000 bytes")
def header_of_100_megabytes(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors({}, length=100_000_000))


@case("header would have 10000001 bytes")
def header_past_the_limit(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors(b"{}" + b" " * 9_999_999))


@case("header is not JSON")
def header_that_is_not_json(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors(b"{'weights': 1}"))


@case("header is not JSON")
def header_nested_deeply(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors(b"[" * 200_000))


@case("header is not a JSON object")
def header_that_is_a_list(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors([1]))


@case("does not begin where the one before it ends")
def overlapping_offsets(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)))


@case("tensors end at byte")
def offsets_past_the_end(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors({"a": entry([1000], 0, 4000)}, bytes(8)))


@case("impossible offsets")
def negative_offsets(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors({"a": entry([2], -8, 0)}, bytes(8)))


@case("another number of bytes than its shape")
def shape_without_its_bytes(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors({"a": entry([10**9, 10**9], 0, 8)}, bytes(8)))


@case("unknown dtype 'OBJECT'")
def unknown_dtype(folder: Path) -> None:
    put(folder, WEIGHTS, safetensors({"a": entry([1], 0, 8, "OBJECT")}, bytes(8)))


@case("the key 'a' occurs twice")
def tensor_twice(folder: Path) -> None:
    one = json.dumps(entry([2], 0, 8))
    put(folder, WEIGHTS, safetensors(f'{{"a": {one}, "a": {one}}}'.encode(), bytes(8)))


@case("'head.weight' is F64 5x8, not F32 5x8")
def wrong_dtype(folder: Path) -> None:
    change_weights(folder, lambda w: w.update({"head.weight": w["head.weight"].astype(np.float64)}))


@case("'head.weight' is F32 8x5, not F32 5x8")
def wrong_shape(folder: Path) -> None:
    change_weights(folder, lambda w: w.update({"head.weight": w["head.weight"].T.copy()}))


@case("the tensor 'head.bias' is missing")
def missing_tensor(folder: Path) -> None:
    change_weights(folder, lambda w: w.pop("head.bias"))


@case("the tensor 'more' is one too many")
def extra_tensor(folder: Path) -> None:
    change_weights(folder, lambda w: w.update(more=np.zeros(3, np.float32)))


@case("the tensor 'conv.weight' holds NaN or an infinity")
def weights_with_nan(folder: Path) -> None:
    change_weights(folder, lambda w: w["conv.weight"].__setitem__((7, 2, 2, 2), np.nan))


@case("the tensor 'head.bias' holds NaN or an infinity")
def weights_with_infinity(folder: Path) -> None:
    change_weights(folder, lambda w: w["head.bias"].__setitem__(4, -np.inf))


@case("the file is not whole")
def truncated_weights(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])


@case("has 0 bytes")
def empty_weights(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"")


@case("its sha256 is another")
def weights_of_another_model(folder: Path) -> None:
    save_file(make_weights(5, seed=99), folder / WEIGHTS)


@case("weights.safetensors cannot be read")
def missing_weights(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


@case("weights.safetensors is not a regular file")
def weights_that_are_a_link(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder.parent / "elsewhere")
    (folder / WEIGHTS).symlink_to(folder.parent / "elsewhere")


# --- the graph ----------------------------------------------------------------------------------------------------
def put_graph(folder: Path, graph: onnx.ModelProto) -> None:
    put(folder, GRAPH, graph.SerializeToString())


@case("its sha256 is another")
def one_flipped_bit_in_the_graph(folder: Path) -> None:
    data = bytearray((folder / GRAPH).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / GRAPH).write_bytes(data)


@case("a golden logit is off by")
def graph_of_another_model(folder: Path) -> None:
    put_graph(folder, make_graph(make_weights(5, seed=99), 32))


@case("answers 4 values, spec.json has 5 labels")
def graph_with_too_few_outputs(folder: Path) -> None:
    put_graph(folder, make_graph(make_weights(4, seed=0), 32))


@case("answers with NaN or an infinity")
def graph_that_answers_nan(folder: Path) -> None:
    weights = make_weights(5, seed=0)
    weights["head.bias"][2] = np.nan
    put_graph(folder, make_graph(weights, 32))


@case("its one input must be 'image'")
def graph_with_another_input(folder: Path) -> None:
    graph = make_graph(make_weights(5, seed=0), 32)
    graph.graph.input[0].name = graph.graph.node[0].input[0] = "x"
    put_graph(folder, graph)


@case("its batch dimension is fixed")
def graph_for_one_picture_only(folder: Path) -> None:
    graph = make_graph(make_weights(5, seed=0), 32)
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    put_graph(folder, graph)


@case("model.onnx cannot be used")
def graph_of_another_size(folder: Path) -> None:
    put_graph(folder, make_graph(make_weights(5, seed=0), 48))


@case("model.onnx cannot be used")
def graph_that_reads_another_file(folder: Path) -> None:
    graph = make_graph(make_weights(5, seed=0), 32)
    tensor = graph.graph.initializer[0]
    (folder.parent / "outside.bin").write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "../outside.bin"), ("offset", "0")):
        tensor.external_data.add(key=key, value=value)
    put_graph(folder, graph)


@case("model.onnx cannot be used")
def graph_with_an_operator_of_its_own(folder: Path) -> None:
    graph = make_graph(make_weights(5, seed=0), 32)
    graph.graph.node[1].op_type = "PythonOp"
    graph.graph.node[1].domain = "com.example"
    graph.opset_import.append(helper.make_opsetid("com.example", 1))
    put_graph(folder, graph)


@case("model.onnx is larger than")
def graph_of_four_gigabytes(folder: Path) -> None:
    with (folder / GRAPH).open("wb") as out:
        out.truncate(4 * 1024**3)  # a hole: it takes no space


# --- the sidecar --------------------------------------------------------------------------------------------------
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
