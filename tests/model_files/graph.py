"""model.onnx with one thing wrong."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.artifacts import make_graph, make_weights
from tests.model_files.damage import GRAPH, case, put


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
