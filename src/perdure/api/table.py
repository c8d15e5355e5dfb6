"""All endpoints, once, as data: routes, checks and the OpenAPI document are made from this table."""

from typing import Any

from msgspec import Raw

from perdure.api.endpoint import Endpoint, Nothing
from perdure.api.health import Probes
from perdure.api.runs.asks import (
    CancelAnswer,
    CancelBody,
    QueryBody,
    ResumeAnswer,
    RetryAnswer,
    RetryBody,
    RunAsks,
    SignalBody,
    UpdateBody,
    Value,
)
from perdure.api.runs.journals import HistoryPage, HistoryQuery, Reasons, RunJournals
from perdure.api.runs.reads import ListQuery, Result, RunPage, RunReads, RunView, StartBody, Started, WaitQuery
from perdure.api.work.callbacks import Callbacks
from perdure.api.work.calls import CallEnds, Completion, Failing, GiveBackBody, Heard, HeartbeatBody
from perdure.api.work.workers import BeatBody, Beaten, TakeBody, Taken, Welcome, Workers
from perdure.control.tokens import Scope
from perdure.engine.health import Health
from perdure.wire.messages import Announce

RUNS = "runs"
GONE, CLASH = 404, 409


def run_reads(reads: RunReads, journals: RunJournals) -> list[Endpoint]:
    """Give the endpoints that look at runs."""
    told: dict[str, Any] = {"method": "GET", "tag": RUNS, "scope": Scope.RUNS_READ}
    one = {**told, "problems": (GONE,)}
    return [
        Endpoint(
            name="listRuns",
            path="/v1/runs",
            summary="List runs, newest first.",
            handle=reads.list,
            query=ListQuery,
            answers={200: RunPage},
            **one,
        ),
        Endpoint(name="getRun", path="/v1/runs/{run}", summary="Look at a run.", handle=reads.get, answers={200: RunView}, **one),
        Endpoint(
            name="getResult",
            path="/v1/runs/{run}/result",
            summary="Wait for the end of a run and give its result; 202 if it is still open.",
            handle=reads.result,
            query=WaitQuery,
            answers={200: Result, 202: Result},
            **one,
        ),
        Endpoint(
            name="getReasons",
            path="/v1/runs/{run}/why",
            summary="Tell what a run waits for.",
            handle=journals.why,
            answers={200: Reasons},
            **one,
        ),
        Endpoint(
            name="getHistory",
            path="/v1/runs/{run}/history",
            summary="Give the facts of a run, oldest first.",
            handle=journals.history,
            query=HistoryQuery,
            answers={200: HistoryPage},
            **one,
        ),
    ]


def run_asks(asks: RunAsks) -> list[Endpoint]:
    """Give the endpoints that start runs and ask things of them."""
    told: dict[str, Any] = {"method": "POST", "tag": RUNS, "scope": Scope.RUNS_WRITE, "problems": (GONE, CLASH, 501)}
    return [
        Endpoint(
            name="startRun",
            path="/v1/runs",
            summary="Start a run; with an id, the same run however often it is sent.",
            handle=asks.start,
            body=StartBody,
            answers={201: Started},
            is_keyed=True,
            **told,
        ),
        Endpoint(
            name="sendSignal",
            path="/v1/runs/{run}/signals/{signal}",
            summary="Send a signal.",
            handle=asks.signal,
            body=SignalBody,
            answers={204: None},
            is_keyed=True,
            may_lack_body=True,
            **told,
        ),
        Endpoint(
            name="callUpdate",
            path="/v1/runs/{run}/updates/{method}",
            summary="Call an update method and give its answer.",
            handle=asks.update,
            body=UpdateBody,
            answers={200: Value},
            is_keyed=True,
            may_lack_body=True,
            **told,
        ),
        Endpoint(
            name="callQuery",
            path="/v1/runs/{run}/queries/{method}",
            summary="Call a query method; the run does not move.",
            handle=asks.query,
            body=QueryBody,
            answers={200: Value},
            may_lack_body=True,
            **{**told, "scope": Scope.RUNS_READ},
        ),
        *_run_ends(asks, told),
    ]


def _run_ends(asks: RunAsks, told: dict[str, Any]) -> list[Endpoint]:
    return [
        Endpoint(
            name="cancelRun",
            path="/v1/runs/{run}/cancel",
            summary="Ask a run to end; its code may clean up.",
            handle=asks.cancel,
            body=CancelBody,
            answers={200: CancelAnswer},
            may_lack_body=True,
            **told,
        ),
        Endpoint(
            name="resumeRun",
            path="/v1/runs/{run}/resume",
            summary="Try a stalled run again with the code that is served now.",
            handle=asks.resume,
            body=Nothing,
            answers={200: ResumeAnswer},
            may_lack_body=True,
            **told,
        ),
        Endpoint(
            name="retryRun",
            path="/v1/runs/{run}/retry",
            summary="Make failed calls again; a failed run goes on.",
            handle=asks.retry,
            body=RetryBody,
            answers={200: RetryAnswer},
            may_lack_body=True,
            **told,
        ),
    ]


def call_ends(calls: CallEnds) -> list[Endpoint]:
    """Give the endpoints by which calls end, and attempts go on."""
    told: dict[str, Any] = {"method": "POST", "tag": "calls", "scope": Scope.CALLS, "problems": (GONE, CLASH)}
    return [
        Endpoint(
            name="completeCall",
            path="/v1/calls/{call}/complete",
            summary="End an attempt by its id and token, or a call that was left open by its key.",
            handle=calls.complete,
            body=Completion,
            answers={200: dict},
            may_lack_body=True,
            **told,
        ),
        Endpoint(
            name="failCall",
            path="/v1/calls/{call}/fail",
            summary="End an attempt, or a call that was left open, by an error.",
            handle=calls.fail,
            body=Failing,
            answers={200: dict},
            **told,
        ),
        Endpoint(
            name="heartbeatCall",
            path="/v1/calls/{call}/heartbeat",
            summary="Say that an attempt makes progress.",
            handle=calls.heartbeat,
            body=HeartbeatBody,
            answers={200: Heard},
            **told,
        ),
        Endpoint(
            name="giveBackCall",
            path="/v1/calls/{call}/give-back",
            summary="Leave an attempt that was taken, and not begun, to others; with a reason, to nobody.",
            handle=calls.give_back,
            body=GiveBackBody,
            answers={200: dict},
            **told,
        ),
    ]


def worker_asks(workers: Workers) -> list[Endpoint]:
    """Give the endpoints for workers."""
    told: dict[str, Any] = {"tag": "workers", "scope": Scope.CALLS}
    return [
        Endpoint(
            name="announceWorker",
            method="POST",
            path="/v1/workers",
            summary="Say which actions a worker performs.",
            handle=workers.announce,
            body=Announce,
            answers={201: Welcome},
            **told,
        ),
        Endpoint(
            name="takeCalls",
            method="POST",
            path="/v1/calls/take",
            summary="Take calls, and wait for one if there is none.",
            handle=workers.take,
            body=TakeBody,
            answers={200: Taken},
            problems=(GONE,),
            **told,
        ),
        Endpoint(
            name="beatWorker",
            method="POST",
            path="/v1/workers/{worker}/beat",
            summary="Say that a worker lives, and what it has under way.",
            handle=workers.beat,
            body=BeatBody,
            answers={200: Beaten},
            may_lack_body=True,
            **told,
        ),
        Endpoint(
            name="leaveWorker",
            method="DELETE",
            path="/v1/workers/{worker}",
            summary="Say that a worker has ended.",
            handle=workers.leave,
            answers={204: None},
            problems=(GONE,),
            **told,
        ),
    ]


def callbacks(answers: Callbacks) -> list[Endpoint]:
    """Give the endpoint for outside services that were given a URL."""
    return [
        Endpoint(
            name="answerCallback",
            method="POST",
            path="/v1/callbacks/{token}",
            summary="Answer a callback; the first answer stands, and more of them change nothing.",
            tag="callbacks",
            scope=None,
            handle=answers.answer,
            body=Raw,
            answers={200: dict},
            problems=(GONE,),
        )
    ]


def probes(health: Probes) -> list[Endpoint]:
    """Give the endpoints that anyone may ask."""
    told: dict[str, Any] = {"method": "GET", "tag": "health", "scope": None}
    return [
        Endpoint(name="getLive", path="/live", summary="Whether the process answers.", handle=health.live, answers={200: dict}, **told),
        Endpoint(
            name="getReady",
            path="/ready",
            summary="Whether runs can be started and asked here.",
            handle=health.ready,
            answers={200: Health, 503: Health},
            **told,
        ),
    ]
