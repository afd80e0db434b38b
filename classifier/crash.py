"""Named places at which a process can be made to die, as if it had been killed between one line and the next.

`crash.here("after_claim")` does nothing, unless the environment variable BREEDSITE_CRASH names a folder in which a file
of that name lies: then it takes the file away and kills the process with -9, so that each file kills once. Only the
tests and `benchmarks/chaos` set it. Every place stands in POINTS, and in the source exactly once.
"""

import os
import signal
from pathlib import Path

FOLDER = os.environ.get("BREEDSITE_CRASH", "")

POINTS = {
    # any kind of job, in whatever process
    "before_ring": "its row waits, and no worker has been told",
    "after_claim": "its row is held, and nothing is done yet",
    "after_take_back": "rows of silent processes wait again, and no worker has been told",
    # the training process
    "after_training_start": "the job file is read",
    "after_resume": "network and photos are loaded, the last checkpoint too",
    "after_step": "in the middle of an epoch",
    "in_checkpoint_write": "the temporary file has its beginning",
    "before_checkpoint_rename": "the temporary file is whole and on the disk",
    "after_checkpoint_rename": "the checkpoint has its name, its folder is not flushed",
    "before_checkpoint_removal": "there are three checkpoints, one too many",
    "before_epoch_told": "the epoch is in the checkpoint, and nobody has heard of it",
    "after_epoch_told": "whoever supervises may have heard of it",
    "after_forget": "a folder of an earlier attempt is removed",
    "before_publish": "all epochs are done",
    "in_artifact_write": "graph and weights are in the temporary folder, spec.json is not",
    "before_artifact_rename": "the folder is whole, verified and flushed, and has its temporary name",
    "after_artifact_rename": "it has its name",
    "before_candidate_told": "the artifact is whole, and nobody has heard of it",
    # the process that supervises it
    "after_trainer_start": "the training process runs",
    "in_epoch_transaction": "the row of the epoch is written and not committed",
    "after_epoch_stored": "it is committed",
    "in_version_copy": "the model is copied and not verified",
    "before_version_row": "the model lies in its place and has no row",
    "after_version_row": "the version exists, and its run has not ended",
    "after_run_finished": "the run has ended, its checkpoints are still there",
}


def here(point: str) -> None:
    """Die, if a file asks for it."""
    if FOLDER:
        try:
            (Path(FOLDER) / point).unlink()
        except FileNotFoundError:
            return
        os.kill(os.getpid(), signal.SIGKILL)
