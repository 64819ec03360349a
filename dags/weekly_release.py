"""weekly_release: from the source to the promoted release, Sundays at 02:00 UTC, and whenever the asset `cinematch_source` changes.

Owner: data-engineering. A red run means that there is no new release this week; the promoted one goes on being served, so
nobody who asks for a list notices. `ingest` in pink means that the data changed too much to train on. `promote` in pink means that there is a release and that it was not promoted: it was held
back, for the reason in its log and XCom, or the run was told not to promote. One model in red does not stop the release.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess  # nosec B404  # each call says by itself what it runs
from datetime import datetime, timedelta, UTC
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.sdk import Asset, AssetOrTimeSchedule, BaseOperator, CronTriggerTimetable, dag, Param, task, TriggerRule
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

ALL = "popular,content,ials,als,svd,item_neighbours,transitions,ease,hybrid"
MODELS = os.environ.get("CINEMATCH_MODELS", ALL).split(",")
BLENDS = ("hybrid",)  # fitted by `train` to what the others left
SOURCE = Asset(name="cinematch_source", uri="cinematch://source", group="cinematch")  # of the DAG that brings the data
RELEASE = Asset(name="cinematch_release", uri="cinematch://current", group="cinematch")
POOL = "training"
HELD_BACK = 7
NO_RETRY = (2, 5, 6)  # a wrong setting, a damaged release, nothing of that name: the same the next time


class Step(BaseOperator):
    """One command, whose figures (its last line, a flat JSON object) are the task's XCom and its asset event's extra.

    The command is a list of arguments and no shell reads it, so that no parameter of a run can become a command.
    `takes` names the parameters of the run that it gets as flags, `model` the one model that `train` is to fit.
    """

    def __init__(self, *, command: str, takes: tuple[str, ...] = (), model: str = "", **more) -> None:
        super().__init__(**more)
        self.command, self.takes, self.model = command, takes, model

    @cached_property
    def _process(self) -> SubprocessHook:
        return SubprocessHook()

    def execute(self, context):
        if self.command == "promote" and not context["params"]["promote"]:
            raise AirflowSkipException("this run was told not to promote")
        arguments = self.arguments(context["dag_run"], context["params"])
        with TemporaryDirectory(prefix="cinematch-") as folder:
            done = self._process.run_command(arguments, cwd=folder)
            kept = Path(folder, "figures.json")
            figures = json.loads(kept.read_text()) if kept.exists() else None
        if done.exit_code == HELD_BACK:
            context["ti"].xcom_push(key="return_value", value=figures)
            raise AirflowSkipException(done.output)
        if done.exit_code:
            error = AirflowFailException if done.exit_code in NO_RETRY else AirflowException
            raise error(f"exit status {done.exit_code}: {done.output}")
        for asset in self.outlets:
            context["outlet_events"][asset].extra = figures
        return figures

    def on_kill(self) -> None:
        self._process.send_sigterm()

    def arguments(self, dag_run, params) -> list[str]:
        """The command line of a run, one argument an element."""
        made = ["cinematch", self.command, "--json=figures.json", f"--release={release_of(dag_run)}"]
        if self.model:
            made.append(f"--model={self.model}")
        given = {name: as_of(dag_run, params) if name == "as_of" else params[name] for name in self.takes}
        return made + [f"--{name.replace('_', '-')}={text(value)}" for name, value in given.items() if value not in (None, "")]


def text(value: object) -> str:
    """A parameter as a flag's value. A flag that is not given leaves the deployment's setting, of its environment or file."""
    return ",".join(value) if isinstance(value, list) else str(value)


def moment(dag_run) -> datetime:
    """The time that a run is for: of its schedule, also where it is late or a backfill; else of its trigger or the asset's event."""
    return (dag_run.logical_date or dag_run.run_after).astimezone(UTC)


def release_of(dag_run) -> str:
    """The id of a run's release: the same whenever a task of it runs again, sorting by time, one for each run by hand or by an asset."""
    is_planned = dag_run.run_type in ("scheduled", "backfill")
    unplanned = "" if is_planned else f"m{hashlib.sha256(dag_run.run_id.encode()).hexdigest()[:4]}"
    return f"{moment(dag_run):%Y%m%dT%H%M%SZ}{unplanned}"


def as_of(dag_run, params) -> str:
    """Return the time until which events go into the release."""
    return params["as_of"] or f"{moment(dag_run):%Y-%m-%dT%H:%M:%S+00:00}"


def alert(context, level: str, title: str, text: object) -> None:
    """Tell whoever the deployment's settings name; an alert that cannot be sent must not fail a task."""
    ti = context.get("ti")
    where = f"Run {context['run_id']}" + (f", task {ti.task_id}, try {ti.try_number}: {ti.log_url}" if ti else "")
    command = ["cinematch", "alert", f"--level={level}", f"--title=weekly_release: {title}", f"--text={text}\n{where}"]
    subprocess.run(command, timeout=60, check=False)  # nosec B603  # no shell; the texts are arguments


def step_failed(context) -> None:
    alert(context, "error", f"{context['ti'].task_id} failed, there is no new release", context.get("exception"))


def model_failed(context) -> None:
    model = context["ti"].rendered_map_index or context["ti"].map_index
    alert(context, "warning", f"model {model} failed, the release goes on without it", context.get("exception"))


def run_failed(context) -> None:
    """Tell of a failed run what its failed task has not told already."""
    if context.get("reason") == "timed_out":
        alert(context, "error", "the run took too long and was ended, there is no new release", "It was killed by its time limit.")


def held_back(context) -> None:
    figures = context["ti"].xcom_pull(task_ids=context["ti"].task_id)
    if figures:  # there are none where the run was told not to promote
        alert(context, "warning", f"release {figures['release']} was held back", figures["message"])


def step(name: str, *takes: str, hours: float, does: str, red: str, **more) -> Step:
    """The task of a step."""
    return Step(
        task_id=name,
        command=name,
        takes=takes,
        execution_timeout=timedelta(hours=hours),
        doc_md=f"`cinematch {name}` {does}\n\n**Red:** {red}",
        **more,
    )


@dag(
    dag_id="weekly_release",
    description="From the source to the promoted release",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("0 2 * * 0", timezone="UTC"), assets=[SOURCE]),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=8),
    on_failure_callback=run_failed,
    is_paused_upon_creation=False,
    tags=["cinematch", "release"],
    default_args={
        "owner": "data-engineering",
        "retries": 2,
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=20),
        "on_failure_callback": step_failed,
    },
    params={
        "source": Param(
            None,
            type=["null", "string"],
            enum=[None, "sample", "movielens", "table"],
            description="where interactions come from; the deployment's setting when empty",
        ),
        "path": Param(
            None, type=["null", "string"], description="file, folder, zip or pattern to read; the deployment's setting when empty"
        ),
        "models": Param(
            MODELS,
            type="array",
            items={"type": "string", "enum": MODELS},
            minItems=1,
            uniqueItems=True,
            examples=MODELS,
            description="models to train; popular and the served one must be among them",
        ),
        "serve": Param(
            None,
            type=["null", "string"],
            enum=[None, "auto", "hybrid", "ials", "ease", "transitions", "item_neighbours"],
            description="model that ranks the lists; the deployment's setting when empty",
        ),
        "promote": Param(True, type="boolean", description="promote the release if its verdict lets it pass"),
        "as_of": Param(
            None,
            type=["null", "string"],
            format="date-time",
            pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)$",
            description="build from what had happened until then; the time of the run when empty",
        ),
    },
)
def weekly_release():
    @task(doc_md="Which models `train_model` fits: those of the run's parameters, but for blends.")
    def models(params=None) -> list[str]:
        return [name for name in params["models"] if name not in BLENDS]

    ingest = step(
        "ingest",
        "as_of",
        "source",
        "path",
        "models",
        "serve",
        hours=2,
        does="reads the source and what came in online, refuses what cannot be used, sorts the rest by user.",
        on_skipped_callback=held_back,
        red="The source is not there, cannot be read, or has too few usable rows; the last line of the log says which. Put it "
        "right and clear this task. Exit status 2 is a wrong setting, and is not tried again. **Pink:** the data differs from that "
        "of the promoted release by more than a week changes, and nothing is trained; the log has a line for each figure.",
    )
    train_model = Step.partial(
        task_id="train_model",
        command="train",
        takes=("models", "serve"),
        map_index_template="{{ task.model }}",
        pool=POOL,
        retries=1,
        execution_timeout=timedelta(hours=3),
        on_failure_callback=model_failed,
        doc_md="`cinematch train --model` fits one model and keeps its item side and its row.\n\n**Red:** The release goes on "
        "without the model; its row in `models` says why. Only where it is `popular` or the served one `train` then fails. "
        "Clear the task, and what follows it, before the release is sealed, to have the model after all.",
    ).expand(model=models())
    train = step(
        "train",
        "models",
        "serve",
        hours=3,
        pool=POOL,
        trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS,
        does="joins what was fitted one by one, fits the blend, writes the models and the item tables.",
        red="`popular` or the served model was not trained: look at its `train_model`.",
    )
    evaluate = step(
        "evaluate",
        hours=2,
        does="scores every model on the held-out rows.",
        red="Memory or disk, as a rule; the log says so. Clear the task.",
    )
    recommend = step(
        "recommend",
        hours=3,
        does="computes every user's list and its reasons.",
        red="Memory or disk, as a rule; the log says so. Clear the task.",
    )
    seal = step(
        "seal",
        hours=2,
        does="builds the database, checks and digests everything, and makes the release read-only.",
        red="Exit status 5: a check found rows, or lists that were computed again differ. Nothing was sealed. The log names the "
        "check; it is a fault of the program or of the source, and clearing the task does not help.",
    )
    promote = step(
        "promote",
        hours=0.5,
        outlets=[RELEASE],
        on_skipped_callback=held_back,
        does="makes the release the one that is served, if its verdict lets it pass; prunes old ones, and empties the overlay of "
        "what every release contains. Its XCom and its asset event have the release, the verdict, counts and the main metrics.",
        red="The sealed release is damaged on disk; the one before goes on being served. **Pink:** it was held back, or the run "
        "was told not to promote. `cinematch releases show ID` has the figures, `cinematch releases promote ID` overrules.",
    )
    ingest >> train_model >> train >> evaluate >> recommend >> seal >> promote


weekly_release()
