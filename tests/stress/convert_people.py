"""The detector of people that ships with the project, from the network as its authors published it for TensorFlow.js.

    python -m tests.stress.convert_people movenet-multipose.json people.tflite

Cost: ten seconds. The .json, and the .bin that lies beside it, are those of weights/README.md.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

SIDE = 256
"""Of the picture that the network sees, in pixels."""

FUSED = {"_FusedConv2D": "Conv2D", "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative"}
"""TensorFlow.js' operations that TensorFlow has in parts."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    content = json.loads(options.model.read_text(encoding="utf-8"))
    weights = read_weights(options.model.parent, content["weightsManifest"])
    options.output.write_bytes(in_float(convert(frozen(content["modelTopology"], weights))))
    print(f"{options.output}: {options.output.stat().st_size:,} bytes")


def read_weights(folder: Path, manifest: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The constants by name."""
    weights = {}
    for group in manifest:
        content, offset = b"".join((folder / path).read_bytes() for path in group["paths"]), 0
        for entry in group["weights"]:
            stored = entry.get("quantization", {}).get("dtype", entry["dtype"])
            values = np.frombuffer(content, stored, int(np.prod(entry["shape"])), offset)
            weights[entry["name"]] = values.astype(entry["dtype"]).reshape(entry["shape"])
            offset += values.nbytes
    return weights


def frozen(topology: dict[str, Any], weights: dict[str, np.ndarray]) -> GraphDef:
    """The graph with its constants, in TensorFlow's operations, for one picture of `SIDE` pixels."""
    graph = json_format.ParseDict(topology, GraphDef(), ignore_unknown_fields=True)
    result = GraphDef(versions=graph.versions)
    for node in graph.node:
        if node.op in FUSED:
            add_parts(result, node)
            continue
        if node.op == "Const":
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(weights[node.name]))
        elif node.op == "Placeholder":
            node.attr["shape"].shape.CopyFrom(tf.TensorShape([1, SIDE, SIDE, 3]).as_proto())
        result.node.append(node)
    return result


def add_parts(graph: GraphDef, fused: Any) -> None:
    """A fused operation as a convolution, a bias and perhaps an activation, the last of them by its name."""
    names = [name.decode() for name in fused.attr["fused_ops"].list.s]  # BiasAdd, and perhaps one more
    part = graph.node.add(name=f"{fused.name}/conv", op=FUSED[fused.op], input=fused.input[:2])
    for key in ("T", "strides", "padding", "dilations", "data_format"):
        part.attr[key].CopyFrom(fused.attr[key])
    for i, name in enumerate(names):
        inputs = [part.name, *(fused.input[2:3] if name == "BiasAdd" else ())]
        part = graph.node.add(name=fused.name if name == names[-1] else f"{fused.name}/part{i}", op=name, input=inputs)
        part.attr["T"].CopyFrom(fused.attr["T"])


def convert(graph: GraphDef) -> bytes:
    """LiteRT, with weights of 8 bits, from a picture of uint8 to the network's answer."""
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    network = wrapped.prune(wrapped.graph.as_graph_element("input:0"), wrapped.graph.as_graph_element("Identity:0"))
    signature = [tf.TensorSpec([1, SIDE, SIDE, 3], tf.uint8)]
    concrete = tf.function(lambda image: network(tf.cast(image, tf.int32)), signature).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter.convert()


def in_float(content: bytes) -> bytes:
    """The same network and weights; these become float32 when it is loaded, and what is computed with them is too.

    LiteRT's kernels for weights of 8 bits and activations of 32 take 1.6 times as long as those for float32 alone.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(content)
    (graph,) = model.subgraphs
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    code.version = 5  # of scales for each channel
    model.operatorCodes.append(code)
    operators = []
    for operator in graph.operators:
        inputs = [int(number) for number in operator.inputs]
        for place, number in enumerate(inputs):
            if number >= 0 and graph.tensors[number].type == schema.TensorType.INT8:
                inputs[place] = len(graph.tensors)
                operators.append(dequantized(number, len(graph.tensors), len(model.operatorCodes) - 1))
                graph.tensors.append(floats_like(graph.tensors[number]))
        operator.inputs = inputs
        operators.append(operator)
    graph.operators = operators
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def dequantized(number: int, result: int, code: int) -> Any:
    """The operation of that code from one tensor to another, by their numbers."""
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, [number], [result]
    return operator


def floats_like(tensor: Any) -> Any:
    floats = schema.TensorT()
    floats.name, floats.shape, floats.type = tensor.name + b"/float", tensor.shape, schema.TensorType.FLOAT32
    floats.buffer = 0  # which is empty
    return floats


if __name__ == "__main__":
    main()
