"""daily_audit: is the promoted release whole, young enough, and still like what comes in? Every day at 06:00 UTC.

Owner: data-engineering. A red run means that the promoted release is damaged or cannot be read: roll back. What is merely
unusual (an old release, ratings that drift, lists that people do not follow) is a finding and an alert, and leaves the run
green. Findings are rows of `findings` in catalog.db.
"""

from __future__ import annotations

import json
import subprocess  # nosec B404  # each call says by itself what it runs
from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import dag
from airflow.sdk.exceptions import AirflowException, AirflowFailException

DAMAGED = "exit code 5."  # as BashOperator says it


class Audit(BashOperator):
    """The command; its last line is the XCom. A damaged release is as damaged the next time."""

    def execute(self, context):
        try:
            return json.loads(super().execute(context))
        except AirflowException as error:
            if DAMAGED in str(error):
                raise AirflowFailException(str(error)) from error
            raise


def audit_failed(context) -> None:
    """Tell of an audit that could not be made; of what an audit finds the command has told itself."""
    ti, error = context["ti"], str(context.get("exception"))
    if DAMAGED not in error:
        text = f"{error}\nRun {ti.run_id}, try {ti.try_number}: {ti.log_url}"
        command = ["cinematch", "alert", "--level=error", "--title=daily_audit: there was no audit", f"--text={text}"]
        subprocess.run(command, timeout=60, check=False)  # nosec B603  # no shell; the texts are arguments


@dag(
    dag_id="daily_audit",
    description="How the promoted release is, and what comes in",
    doc_md=__doc__,
    schedule="0 6 * * *",
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=2),
    is_paused_upon_creation=False,
    tags=["cinematch", "audit"],
    default_args={
        "owner": "data-engineering",
        "retries": 1,
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=20),
        "on_failure_callback": audit_failed,
    },
)
def daily_audit():
    Audit(
        task_id="audit",
        bash_command="cinematch audit",
        execution_timeout=timedelta(hours=1),
        doc_md="`cinematch audit` verifies every digest and check of the promoted release, and compares what came in online with "
        "it: volume, rating values, genres, unknown users and items, and where newly rated items stood in the lists.\n\n"
        "**Red:** exit status 5: the release is damaged; `cinematch releases rollback`, then look at the disk. Anything else: "
        "there was no audit; the last line of the log says why.",
    )


daily_audit()
