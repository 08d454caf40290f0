"""Asks by tritonclient: python ask_triton.py ADDRESS HISTORIES."""

import json
import sys

import numpy as np
import tritonclient.http as triton

address, histories = sys.argv[1].removeprefix("http://"), json.loads(sys.argv[2])
width = max(map(len, histories))
rows = [[*row, *[""] * (width - len(row))] for row in histories]
found = []
with triton.InferenceServerClient(address) as client:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("films")
    assert client.is_model_ready("films", "1")
    assert not client.is_model_ready("films", "9")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    kinds = client.get_model_metadata("films")["inputs"]
    assert kinds == [{"name": "item_ids", "datatype": "BYTES", "shape": [-1, -1]}]
    for binary in (True, False):
        for packing in (None, "gzip"):
            given = triton.InferInput("item_ids", [len(rows), width], "BYTES")
            given.set_data_from_numpy(np.array(rows, object), binary_data=binary)
            wanted = [
                triton.InferRequestedOutput(name, binary_data=binary)
                for name in ("item_ids", "scores", "valid")
            ]
            answer = client.infer(
                "films",
                [given],
                outputs=wanted,
                request_id="17",
                request_compression_algorithm=packing,
                response_compression_algorithm=packing,
            )
            assert answer.get_response()["id"] == "17"
            arrays = {name.name(): answer.as_numpy(name.name()) for name in wanted}
            items = [
                [each.decode() if isinstance(each, bytes) else each for each in row]
                for row in arrays["item_ids"].tolist()
            ]
            scores, valid = arrays["scores"].tolist(), arrays["valid"].tolist()
            found.append({"item_ids": items, "scores": scores, "valid": valid})
    inputs = [given]
    for name, value in (
        ("k", np.full(len(rows), 3, "int32")),
        ("deny", np.full((len(rows), 1), "", object)),
        ("allow", np.full((len(rows), 1), "", object)),
    ):
        kind = "INT32" if name == "k" else "BYTES"
        inputs.append(triton.InferInput(name, list(value.shape), kind))
        inputs[-1].set_data_from_numpy(value)
    answer = client.infer("films", inputs, parameters={"signature_name": "recommend"})
    assert answer.as_numpy("valid").tolist() == [3] * len(rows)
    try:
        client.infer("books", [given])
    except triton.InferenceServerException as error:
        assert "Latest(books)" in str(error)
    else:
        raise AssertionError("a model that is not there answered")
print(json.dumps(found))
