"""What the registry promises, by REST on the whole stack."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tests.e2e.rest import Reply, call
from tests.fixtures.stack import RunningStack


def test_fifty_threads_of_one_name_are_one_201_and_49_409(stack: RunningStack) -> None:
    together = threading.Barrier(50)

    def create(_: int) -> Reply:
        together.wait()
        return call(f"{stack.url}/models", {"name": "crowd", "base_model": stack.base_model})

    with ThreadPoolExecutor(50) as pool:
        replies = list(pool.map(create, range(50)))
    assert Counter(reply.status for reply in replies) == {201: 1, 409: 49}
    refusals = [reply.json for reply in replies if reply.status == 409]
    assert {refusal["details"][0]["reason"] for refusal in refusals} == {"NAME_TAKEN"}
    listed = call(f"{stack.url}/models?name_prefix=crowd").json["models"]
    assert len(listed) == 1
