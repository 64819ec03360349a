"""daily_audit: is the promoted release whole, young enough, and still like what comes in? Every day at 06:00 UTC.

Owner: data-engineering. A red run means that the promoted release is damaged or cannot be read: roll back. What is merely
unusual (an old release, ratings that drift, lists that people do not follow) is a finding and an alert, and leaves the run
green. Findings are rows of `findings` in catalog.db.
"""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import dag

DAMAGED = 5  # cinematch audit has told of it itself


def audit_failed(context) -> None:
    """Tell of an audit that could not be made."""
    ti, error = context["ti"], str(context.get("exception"))
    if f"exit code {DAMAGED}." not in error:
        text = f"{error}\nRun {ti.run_id}, try {ti.try_number}: {ti.log_url}"
        command = ["cinematch", "alert", "--level=error", "--title=daily_audit: there was no audit", f"--text={text}"]
        subprocess.run(command, timeout=60, check=False)


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
    BashOperator(
        task_id="audit",
        bash_command="cinematch audit",
        output_processor=json.loads,
        execution_timeout=timedelta(hours=1),
        doc_md="`cinematch audit` verifies every digest and check of the promoted release, and compares what came in online with "
        "it: volume, rating values, genres, unknown users and items, and where newly rated items stood in the lists.\n\n"
        "**Red:** exit status 5: the release is damaged; `cinematch releases rollback`, then look at the disk. Anything else: "
        "there was no audit; the last line of the log says why.",
    )


daily_audit()
