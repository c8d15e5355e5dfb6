"""``perdure worker``: what it refuses, and how it says so."""

import pytest

from tests.surfaces.processes import Shell

FAR = """
import perdure

@perdure.action(queue="far")
async def far() -> int:
    return 1

@perdure.action(transactional=True)
async def pay() -> None: ...
"""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "give at least one file"),
        (("shop.py",), 2, "--connect URL, or set PERDURE_CONNECT"),
        (("none.py", "--connect", "amqp://x"), 3, "there is no file none.py"),
        (("far.py", "--connect", "carrier-pigeon://x"), 2, "expected a URL that begins with amqp://"),
        (("far.py", "--connect", "memory://"), 2, "expected a URL that begins with amqp://"),
        (
            ("far.py", "--connect", "amqp://x", "--queue", "near"),
            3,
            "no actions of the queue 'near' that a worker can perform. They have: far (far)",
        ),
        (("far.py", "--connect", "amqp://127.0.0.1", "--slots", "0"), 2, "slots: found 0"),
        (("far.py", "--connect", "amqp://127.0.0.1", "--interval", "soon"), 2, "span of time"),
        (("far.py", "--connect", "amqp://127.0.0.1", "--name", "a b"), 2, "name: found 'a b'"),
    ],
)
def test_what_cannot_be_is_refused_with_the_code_of_its_kind(shell: Shell, arguments: tuple[str, ...], code: int, said: str) -> None:
    shell.write("far.py", FAR)
    ended = shell.run("worker", *arguments)
    assert (ended.code, said in ended.err) == (code, True), ended
    assert "secret" not in ended.err


def test_a_worker_without_nodes_waits_for_them_and_can_be_stopped(shell: Shell) -> None:
    shell.write("far.py", FAR)
    service = shell.begin("worker", "far.py", PERDURE_CONNECT="sqlite:///app.db")
    line = service.line("performs far (far) for sqlite:///app.db")
    assert "pay" not in line
    service.process.terminate()
    assert service.end() == 0
    assert service.said[-1].endswith("stopped")
