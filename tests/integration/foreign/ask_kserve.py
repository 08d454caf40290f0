"""Asks by KServe's client: python ask_kserve.py ADDRESS HISTORIES."""

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

address, histories = sys.argv[1], json.loads(sys.argv[2])
width = max(map(len, histories))
rows = [[*row, *[""] * (width - len(row))] for row in histories]


async def ask():
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await client.is_server_live(address)
    assert await client.is_server_ready(address)
    assert await client.is_model_ready(address, "films")
    found = []
    for binary in (True, False):
        given = InferInput("item_ids", [len(rows), width], "BYTES")
        array = np.array([[item.encode() for item in row] for row in rows], object)
        given.set_data_from_numpy(array, binary_data=binary)
        request = InferRequest(
            "films",
            [given],
            request_id="17",
            parameters={"binary_data_output": binary},
        )
        answer = await client.infer(address, request, model_name="films")
        assert answer.id == "17"
        arrays = {each.name: each.as_numpy() for each in answer.outputs}
        items = [
            [each.decode() if isinstance(each, bytes) else each for each in row]
            for row in arrays["item_ids"].tolist()
        ]
        scores, valid = arrays["scores"].tolist(), arrays["valid"].tolist()
        found.append({"item_ids": items, "scores": scores, "valid": valid})
    return found


print(json.dumps(asyncio.run(ask())))
