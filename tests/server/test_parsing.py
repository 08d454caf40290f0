"""Requests and answers as TensorFlow Serving reads and writes them.

The pairs are facts taken from its documentation and tests:
[1] https://www.tensorflow.org/tfx/serving/api_rest
[2] tensorflow_serving/util/json_tensor_test.cc
[3] tensorflow_serving/model_servers/http_rest_api_handler_test.cc
"""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("starlette")

from keras_multvae.server.answers import predict_body
from keras_multvae.server.parsing import Input, parse_predict
from keras_multvae.server.status import StatusError

pytestmark = pytest.mark.once

NAN, INF = float("nan"), float("inf")
STRINGS = {"default": "string"}
INTS = {"default": "int32"}
SENSORS = {"tag": "string", "signal": "int64", "sensor": "int64"}
TENSORS = {"int": "int32", "str": "string", "float": "float", "dbl": "double"}


def parse(text, dtypes):
    body = text if isinstance(text, bytes) else text.encode()
    specs = {name: Input(dtype, None) for name, dtype in dtypes.items()}
    return parse_predict(body, lambda name: specs)


@pytest.mark.parametrize(
    ("dtypes", "text", "expected"),
    [
        # [1] Specifying input tensors in row format.
        (STRINGS, '{"instances": ["foo", "bar", "baz"]}',
         {"default": [b"foo", b"bar", b"baz"]}),
        (INTS, '{"instances": [[[1, 2]], [[3, 4]]]}',
         {"default": [[[1, 2]], [[3, 4]]]}),
        (SENSORS, """{"instances": [
            {"tag": "foo", "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]]},
            {"tag": "bar", "signal": [3, 4, 1, 2, 5], "sensor": [[4, 5], [6, 8]]}]}""",
         {"tag": [b"foo", b"bar"], "signal": [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]],
          "sensor": [[[1, 2], [3, 4]], [[4, 5], [6, 8]]]}),
        # [1] Specifying input tensors in column format.
        (SENSORS, """{"inputs": {
            "tag": ["foo", "bar"],
            "signal": [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]],
            "sensor": [[[1, 2], [3, 4]], [[4, 5], [6, 8]]]}}""",
         {"tag": [b"foo", b"bar"], "signal": [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]],
          "sensor": [[[1, 2], [3, 4]], [[4, 5], [6, 8]]]}),
        # [1] Encoding binary values.
        (STRINGS, '{"instances": [{"b64": "aW1hZ2UgYnl0ZXM="}]}',
         {"default": [b"image bytes"]}),
        # [2]
        (INTS, '{"instances": [[1,2],[3,4],[5,6]]}',
         {"default": [[1, 2], [3, 4], [5, 6]]}),
        ({"default": "float"}, '{"instances": [1, 2.0, 3, 4, 5.003, 0.007, 0.0]}',
         {"default": [1, 2, 3, 4, 5.003, 0.007, 0]}),
        ({"default": "double"}, '{"instances": [1.0, 2, 3, 4, 0.662, 0, 0.0]}',
         {"default": [1, 2, 3, 4, 0.662, 0, 0]}),
        (STRINGS, '{"instances": [{"b64": "aGVsbG8="}, {"b64": "d29ybGQ="}]}',
         {"default": [b"hello", b"world"]}),
        (STRINGS, '{"instances": [[{"b64": "aGVsbG8="}], [{"b64": "d29ybGQ="}]]}',
         {"default": [[b"hello"], [b"world"]]}),
        (STRINGS, """{"instances": [
            {"default": [[{"b64": "aGVsbG8="}], [{"b64": "d29ybGQ="}]]}]}""",
         {"default": [[[b"hello"], [b"world"]]]}),
        (TENSORS, """{"instances": [
            {"int": [[1,2],[3,4],[5,6]], "str": ["foo", "bar"], "float": [1.0, NaN],
             "dbl": [NaN]},
            {"int": [[7,8],[9,0],[1,2]], "str": ["baz", "bat"],
             "float": [2.0, Infinity], "dbl": [2.0]}]}""",
         {"int": [[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 0], [1, 2]]],
          "str": [[b"foo", b"bar"], [b"baz", b"bat"]],
          "float": [[1, NAN], [2, INF]], "dbl": [[NAN], [2]]}),
        (INTS, '{"inputs": {"default": [[[1,2],[3,4],[5,6]]]}}',
         {"default": [[[1, 2], [3, 4], [5, 6]]]}),
        (INTS, '{"inputs": [[[1,2],[3,4],[5,6]]]}',
         {"default": [[[1, 2], [3, 4], [5, 6]]]}),
        ({"int": "int32", "str": "string", "bin": "string"}, """{"inputs": {
            "int": [[[1,2],[3,4],[5,6]]], "str": ["foo", "bar"],
            "bin": {"b64": "aGVsbG8="}}}""",
         {"int": [[[1, 2], [3, 4], [5, 6]]], "str": [b"foo", b"bar"],
          "bin": b"hello"}),
    ],
)  # fmt: skip
def test_requests_that_tensorflow_serving_takes(dtypes, text, expected):
    request = parse(text, dtypes)
    assert request.by_row == ('"instances"' in text)
    assert request.signature == "serving_default"
    assert set(request.inputs) == set(expected)
    for name, values in expected.items():
        array = request.inputs[name]
        if array.dtype == object:
            assert array.tolist() == values
        else:
            wanted = {"float": "float32", "double": "float64"}
            assert array.dtype == wanted.get(dtypes[name], dtypes[name])
            np.testing.assert_array_equal(array, np.array(values, array.dtype))


@pytest.mark.parametrize(
    ("dtypes", "text", "error"),
    [
        # [2], [3]
        (INTS, "", "document is empty"),
        (INTS, "instances = [1, 2]", "JSON Parse error: Invalid value"),
        (INTS, '{"signature_name": 5, "instances": [[1,2]]}', "must be a string value"),
        (INTS, '{"instances": [[1,2]], "inputs": [[1,2]]}', "Not formatted correctly"),
        (INTS, '{"instances": [[1,2],[3,4],[5,6,7]]}', "Expecting tensor size"),
        (INTS, '{"instances": [[1,2],[3,4],[[5,6]]]}', "Expecting shape"),
        (INTS, '{"instances": [1, [1]]}', "Expecting shape"),
        (INTS, '{"instances": [[1,2],["a", "b"]]}', "not of expected type"),
        ({"default": "float"}, '{"instances": [1.7976931348623157e+308]}',
         "loss of precision"),
        ({"default": "float"}, '{"instances": [16777217]}', "loss of precision"),
        ({"default": "double"}, '{"instances": [9007199254740993]}',
         "loss of precision"),
        (TENSORS, '{"instances": [[1, 2]]}', "expecting list of objects"),
        (STRINGS, '{"instances": [["baz"], {"default": ["baz"]}]}',
         "Expecting value/list but got object"),
        (STRINGS, '{"instances": [{"default": ["baz"]}, ["baz"]]}',
         "Expecting object but got list"),
        ({"default": "float"}, '{"instances": ["x", "y"]}',
         "not of expected type: float"),
        # json_tensor.cc
        (INTS, "[1, 2]", "Is not object"),
        (INTS, "{}", "Missing 'inputs' or 'instances' key"),
        (INTS, '{"instances": {}}', "Excepting 'instances' to be an list/array"),
        (INTS, '{"instances": []}', "No values in 'instances' array"),
        (INTS, '{"instances": [{"x": [1]}]}', "does not have named input: x"),
        (SENSORS, '{"instances": [{"tag": "a"}]}', "keys must be equal to: sensor,"),
        (SENSORS, '{"inputs": {"tag": ["a"]}}', "Missing named input: signal"),
        (SENSORS, '{"inputs": [1]}', "inputs is a plain value/list"),
        (INTS, '{"inputs": [[1], 2]}', "found at incorrect level: 2"),
        (INTS, '{"inputs": [1, [2]]}', "list at unexpected level: 1 expected < 1"),
        (INTS, '{"inputs": [[1], [2, 3]]}', "list at unexpected size: 2 at level: 1"),
        (INTS, '{"inputs": [true]}', "Type: True is not of expected type: int32"),
        (INTS, '{"inputs": [1.0]}', "Type: Number is not of expected type: int32"),
        (INTS, '{"inputs": [2147483648]}', "is not of expected type: int32"),
        (INTS, '{"inputs": [null]}', "Type: Null is not of expected type"),
        (INTS, '{"inputs": [{"b64": "aGVsbG8="}]}', "Type: Object is not of expected"),
        (STRINGS, '{"inputs": [{"b64": "*"}]}', "Unable to base64 decode"),
        (STRINGS, '{"inputs": [{"b65": ""}]}', "not formatted correctly for base64"),
        # Not JSON at all.
        (INTS, '{"instances": [[1, 2', "JSON Parse error: Missing a comma"),
        (INTS, b'{"instances": ["\xff"]}', "Invalid encoding in string"),
        (STRINGS, r'{"instances": ["\ud800"]}', "surrogate pair in string is invalid"),
        (INTS, '{"instances": ' + "[" * 100_000, "nested too deeply"),
        (INTS, '{"inputs": ' + "[" * 700 + "]" * 700 + "}", "nested too deeply"),
        (INTS, '{"inputs": [' + "9" * 5000 + "]}", "Number too big"),
    ],
)  # fmt: skip
def test_requests_that_it_refuses(dtypes, text, error):
    with pytest.raises(StatusError) as caught:
        parse(text, dtypes)
    assert error in str(caught.value)
    assert caught.value.http_status == 400


def test_shapes_are_those_of_the_signature():
    specs = {"item_ids": Input("int64", (-1, -1))}
    for text, shape in (
        ('{"inputs": [1, 2]}', "[2]"),
        ('{"instances": [1]}', "[1]"),
        ('{"inputs": 5}', "[]"),
        ('{"inputs": [[[1]]]}', "[1,1,1]"),
    ):
        with pytest.raises(StatusError, match="signature asks for") as caught:
            parse_predict(text.encode(), lambda name: specs)
        assert f"has shape {shape}," in str(caught.value)


# [2] The tensors of FromJsonMultipleNamedTensors, and what both forms make of them.
NAMED = {
    "double_scalar_tensor": np.array([8.0, 9.0]),
    "float_tensor": np.array([[1.0], [2.0]], "float32"),
    "int_tensor": np.array(
        [[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 0], [1, 2]]], "int32"
    ),
    "str_tensor": np.array([[b"foo", b"bar"], [b"baz", b"bat"]], object),
    "str_tensor_bytes": np.array([[b"hello", b"world"], [b"tf", b"serving"]], object),
}
HELLO = [{"b64": "aGVsbG8="}, {"b64": "d29ybGQ="}]
TF = [{"b64": "dGY="}, {"b64": "c2VydmluZw=="}]
ROWS = [
    {"double_scalar_tensor": 8.0, "float_tensor": [1.0],
     "int_tensor": [[1, 2], [3, 4], [5, 6]], "str_tensor": ["foo", "bar"],
     "str_tensor_bytes": HELLO},
    {"double_scalar_tensor": 9.0, "float_tensor": [2.0],
     "int_tensor": [[7, 8], [9, 0], [1, 2]], "str_tensor": ["baz", "bat"],
     "str_tensor_bytes": TF},
]  # fmt: skip


@pytest.mark.parametrize(
    ("outputs", "by_row", "expected"),
    [
        # [2]
        ({"a": np.arange(12).reshape(2, 3, 2)}, True,
         {"predictions": [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]]}),
        ({"a": np.arange(1, 6)}, True, {"predictions": [1, 2, 3, 4, 5]}),
        ({"a": np.arange(1, 6)}, False, {"outputs": [1, 2, 3, 4, 5]}),
        ({"a": np.zeros((0, 2), "int32")}, True, {"predictions": []}),
        ({"a": np.zeros((0, 1, 2)), "b": np.zeros((0, 3, 4))}, True,
         {"predictions": []}),
        (NAMED, True, {"predictions": ROWS}),
        (NAMED, False, {"outputs": {key: [row[key] for row in ROWS] for key in NAMED}}),
        # [3] half_plus_two
        ({"y": np.array([[2.5, 3.0], [3.5, 4.0]], "float32")}, True,
         {"predictions": [[2.5, 3.0], [3.5, 4.0]]}),
    ],
)  # fmt: skip
def test_answers_that_tensorflow_serving_writes(outputs, by_row, expected):
    assert json.loads(predict_body(outputs, by_row)) == expected


def test_numbers_are_written_as_short_as_they_are():
    # [2] FromJsonSingleFloatTensorSixDigitPrecision, ...NonFinite.
    numbers = np.array([[0.5, 0.0003, 3e-5, 555557.5, 999999, 0.1]], "float32")
    text = predict_body({"a": numbers}, True)
    assert text == b'{"predictions":[[0.5,0.0003,3e-05,555557.5,999999.0,0.1]]}'
    odd = np.array([[NAN, INF, 3, -INF]], "float32")
    assert predict_body({"a": odd}, True) == (
        b'{"predictions":[[NaN,Infinity,3.0,-Infinity]]}'
    )


def test_answers_that_it_cannot_write():
    # [2] FromJsonSingleTensorErrors, FromJsonMultipleNamedTensorsErrors.
    with pytest.raises(StatusError, match="no shape information"):
        predict_body({"a": np.array(1)}, True)
    with pytest.raises(StatusError, match="inconsistent batch size: 1 expecting: 2"):
        predict_body({"a": np.zeros((2, 3)), "b": np.zeros((1, 3))}, True)
