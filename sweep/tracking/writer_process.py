"""A writer in a process of its own: an interpreter runs one thread at a time, and MLflow keeps one busy.

Both ends of it. Lines of JSON go to its standard input and come back from its standard output, one answer a question.
It ends at once when its input does, so with the process that made it, however that ends: a session that follows never
finds two that write.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import traceback
from dataclasses import asdict
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING, Any, cast

from nasprune.errors import ArtifactError, DataError, NaspruneError, SettingsError
from sweep import companion
from sweep.tracking.delivery import RefusedError, StoreAwayError
from sweep.tracking.outbox import Entry
from sweep.tracking.writer import Place, Tracked, Writer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PROBLEMS: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (StoreAwayError, RefusedError, SettingsError, ArtifactError, DataError)
}
_PATIENCE = 10.0  # seconds that a process may take to end


class WriterProcess:
    """A `Writer` elsewhere. Where its process is gone, the next delivery starts another.

    Args:
        tracked: The study; its experiment and run are made if missing.

    Raises:
        SettingsError: If the store cannot be used.
        ArtifactError: If the study is tracked with other parameters.
    """

    def __init__(self, tracked: Tracked) -> None:
        self._tracked = tracked
        self._trial_runs: dict[str, str] = {}
        self._closed = False
        try:
            self._start()
            self.place = self._open()
        except StoreAwayError as problem:
            raise SettingsError(
                f"{problem} at its start; expected room for one beside the driver; look above for what it said, free "
                "some memory, and run the same command again"
            ) from problem
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process's."""
        return self._process.pid

    @property
    def trial_runs(self) -> Mapping[str, str]:
        """MLflow's id of each trial's run, by trial, as far as they are delivered."""
        return dict(self._trial_runs)

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Write what entries tell, as `Writer.deliver`.

        Raises:
            StoreAwayError: If the store is away, or the process died; another one is there for the next delivery.
            RefusedError: If the store takes no such thing.
            NaspruneError: If an entry, or a file that it names, does not fit what is tracked.
        """
        if self._process.poll() is not None and not self._closed:
            self._start()
            try:
                self._open()
            except NaspruneError as problem:  # it was fine when the study began
                self._end()
                raise StoreAwayError(str(problem)) from None
        self._ask([asdict(entry) for entry in entries])

    def close(self) -> None:
        """End the process, whatever it is doing; what it did not do is done again by the next one."""
        self._closed = True
        self._end()

    def _start(self) -> None:
        try:
            self._process = companion.start(__name__)
        except OSError as error:
            raise StoreAwayError(f"the process that writes to MLflow cannot be started ({error.strerror})") from error
        self._questions = cast("IO[str]", self._process.stdin)
        self._answers = cast("IO[str]", self._process.stdout)

    def _open(self) -> Place:
        return Place(**self._ask(asdict(self._tracked)))

    def _ask(self, question: object) -> dict[str, Any]:
        """What the process answers.

        Raises:
            RuntimeError: If it met a mistake of ours.
            Exception: Of `_PROBLEMS`, what it met; StoreAwayError if it died.
        """
        try:
            self._questions.write(json.dumps(question) + "\n")
            self._questions.flush()
            line = self._answers.readline()
        except (OSError, ValueError):  # ValueError: it was closed
            line = ""
        if not line.endswith("\n"):
            self._end()
            raise StoreAwayError("the process that writes to MLflow died")
        answer = json.loads(line)
        self._trial_runs.update(answer["trial_runs"])
        if answer["problem"] is not None:
            raise _PROBLEMS.get(answer["problem"], RuntimeError)(answer["text"])
        value: dict[str, Any] = answer["value"]
        return value

    def _end(self) -> None:
        with contextlib.suppress(OSError):  # what was not read by a dead one
            self._questions.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()


def _answers(questions: SimpleQueue[str]) -> None:
    """Answer what is asked, for ever."""
    # What libraries print must not pass for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    writer, known = None, dict[str, str]()
    while True:
        value, problem, text = dict[str, Any](), None, ""
        question = json.loads(questions.get())
        try:
            if writer is None:
                writer = Writer(Tracked(**question))
                value = asdict(writer.place)
            else:
                writer.deliver([Entry(**entry) for entry in question])
        except Exception as met:
            problem, text = type(met).__name__, str(met)
            if problem not in _PROBLEMS:
                text = traceback.format_exc()
        told = writer.trial_runs if writer is not None else {}
        fresh = {trial: run for trial, run in told.items() if known.get(trial) != run}
        known.update(fresh)
        answer = {"value": value, "problem": problem, "text": text, "trial_runs": fresh}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    """Be the process."""
    questions: SimpleQueue[str] = SimpleQueue()
    companion.live(lambda: _answers(questions), questions.put)


if __name__ == "__main__":
    main()
