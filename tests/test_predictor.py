"""The resident model: right, in order, bounded, and swapped without a gap."""

import io
import shutil
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classifier import artifact, preprocess
from classifier.artifact import ArtifactError
from classifier.engines.remote import Remote
from classifier.guard import Refused
from classifier.predictor import Busy, Identity, NoActiveVersion, Predictor
from tests.artifacts import make_artifact, make_spec
from tests.model_files import HOSTILE

pytestmark = pytest.mark.alone


def identity(folder: Path, name: str = "tiny", number: int = 1) -> Identity:
    return Identity(name, number, artifact.digest(folder))


def make_predictor(**changes) -> Predictor:
    return Predictor(**{"threads": 2, "places": 64, "max_wait_seconds": 30.0} | changes)


@pytest.fixture
def predictor(artifact_folder) -> Predictor:
    predictor = make_predictor()
    predictor.load(identity(artifact_folder), artifact_folder)
    return predictor


def test_probabilities_are_the_calibrated_softmax_of_the_logits(predictor, picture):
    resident = predictor.current
    logits = resident.engine(preprocess.preprocess(picture, resident.spec.preprocessing)[None])[0].astype(float)
    expected = np.exp(logits / 1.5) / np.exp(logits / 1.5).sum()
    prediction = predictor.predict(picture)
    np.testing.assert_allclose(prediction.probabilities, expected, rtol=1e-9)
    assert prediction.probabilities.sum() == pytest.approx(1, abs=1e-12)
    assert prediction.index == logits.argmax()
    assert prediction.label == resident.spec.labels[prediction.index]
    assert [probability for _, probability in prediction.top(3)] == sorted(prediction.probabilities, reverse=True)[:3]
    assert [label for label, _ in prediction.top(5)] == [prediction.labels[i] for i in np.argsort(-logits)]
    assert len(prediction.top(99)) == 5


def test_huge_logits_do_not_overflow(predictor):
    probabilities = predictor.current.spec.calibration.probabilities(np.array([3e38, -3e38, 0, 1, 2], np.float32))
    assert probabilities.tolist() == [1, 0, 0, 0, 0]


@pytest.mark.parametrize(("unsure_below", "sure"), [(0.0, True), (1.0, False)])
def test_it_is_sure_from_the_threshold_on(tmp_path, picture, unsure_below, sure):
    calibration = replace(make_spec().calibration, unsure_below=unsure_below)
    folder = make_artifact(tmp_path / "model", calibration=calibration)
    predictor = make_predictor()
    predictor.load(identity(folder), folder)
    assert predictor.predict(picture).sure is sure


def test_without_a_model_it_says_so(picture):
    with pytest.raises(NoActiveVersion):
        make_predictor().predict(picture)


def test_a_file_that_is_no_picture_is_refused_and_the_turn_given_back(predictor, picture):
    for _ in range(10):
        with pytest.raises(Refused) as refused:
            predictor.predict(b"%PDF-1.7")
        assert refused.value.code == "unsupported_format"
    assert predictor.predict(picture).label


def test_an_animation_is_answered_with_a_warning(predictor):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:])
    assert "first frame" in predictor.predict(out.getvalue()).warning


# --- the queue ----------------------------------------------------------------------------------------------------
class SlowEngine:
    """Stands in front of the real engine and holds every pass until it is let go."""

    def __init__(self, engine) -> None:
        self.engine = engine
        self.go = threading.Event()
        self.started = threading.Semaphore(0)
        self.now = self.most = 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.now += 1
        self.most = max(self.most, self.now)
        self.started.release()
        assert self.go.wait(30)
        self.now -= 1
        return self.engine(images)


def slow_down(predictor: Predictor) -> SlowEngine:
    slow = SlowEngine(predictor.current.engine)
    predictor._resident = replace(predictor.current, engine=slow, narrow=slow)
    return slow


def in_threads(count: int, work) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def test_a_full_queue_is_busy_with_a_time_to_come_back(artifact_folder, picture):
    predictor = make_predictor(threads=1, places=3)
    predictor.load(identity(artifact_folder), artifact_folder)
    slow, outcomes = slow_down(predictor), []
    running = in_threads(4, lambda: outcomes.append(predictor.predict(picture).label))  # one answers, three wait
    slow.started.acquire()
    while predictor._line.inside < 4:
        time.sleep(0.001)
    began = time.monotonic()
    with pytest.raises(Busy) as busy:
        predictor.predict(picture)
    assert time.monotonic() - began < 1
    assert 3 <= busy.value.retry_after_seconds <= 7
    slow.go.set()
    for thread in running:
        thread.join()
    assert len(outcomes) == 4 and slow.most == 1


def test_nobody_waits_longer_than_allowed(artifact_folder, picture):
    predictor = make_predictor(threads=1, max_wait_seconds=0.1)
    predictor.load(identity(artifact_folder), artifact_folder)
    slow = slow_down(predictor)
    (running,) = in_threads(1, lambda: predictor.predict(picture))
    slow.started.acquire()
    began = time.monotonic()
    with pytest.raises(Busy):
        predictor.predict(picture)
    assert 0.1 <= time.monotonic() - began < 2
    slow.go.set()
    running.join()
    assert predictor.predict(picture).label


def test_one_alone_uses_all_cores_and_a_crowd_one_each(predictor, picture):
    calls = []
    wide, narrow = predictor.current.engine, predictor.current.narrow
    assert [e.session.get_session_options().intra_op_num_threads for e in (wide, narrow)] == [2, 1]
    both = threading.Barrier(2)

    def counted(name, engine, meet):
        def answer(images):
            calls.append(name)
            if meet:
                both.wait(30)
            return engine(images)

        return answer

    predictor._resident = replace(predictor.current, engine=counted("wide", wide, False), narrow=narrow)
    predictor.predict(picture)
    assert calls == ["wide"]
    meeting = counted("narrow", narrow, True)
    predictor._resident = replace(predictor.current, engine=counted("wide", wide, True), narrow=meeting)
    for thread in in_threads(2, lambda: predictor.predict(picture)):
        thread.join()
    assert sorted(calls[1:]) in (["narrow", "narrow"], ["narrow", "wide"])  # the first to come may have been alone


def test_where_an_engine_process_makes_the_passes_more_photos_are_decoded_at_a_time(artifact_folder, picture, tmp_path):
    """And while it is away, no more passes are made here than usual."""
    usual = make_predictor()._line.workers
    predictor = make_predictor(remote=Remote(tmp_path / "nobody.sock"))
    predictor.load(identity(artifact_folder), artifact_folder)
    assert predictor._line.workers == 4 * usual and predictor.device == "cpu"
    slow, outcomes, decoded = slow_down(predictor), [], threading.Semaphore(0)
    whole = predictor.square

    def square(data, preprocessing):
        decoded.release()
        return whole(data, preprocessing)

    predictor.square = square
    running = in_threads(4 * usual, lambda: outcomes.append(predictor.predict(picture).device))
    for _ in range(4 * usual):
        assert decoded.acquire(timeout=30)
    for _ in range(usual):
        assert slow.started.acquire(timeout=30)
    assert not slow.started.acquire(timeout=0.1)
    slow.go.set()
    for thread in running:
        thread.join()
    assert outcomes == ["cpu"] * 4 * usual and slow.most == usual


def test_both_sessions_give_the_same_logits(predictor, picture):
    resident = predictor.current
    image = preprocess.preprocess(picture, resident.spec.preprocessing)[None]
    np.testing.assert_array_equal(resident.engine(image), resident.narrow(image))


def test_sixteen_at_once_are_all_answered(predictor, make_picture):
    pictures = [make_picture(seed) for seed in range(16)]
    alone = [predictor.predict(data).probabilities for data in pictures]
    answers: dict[int, np.ndarray] = {}

    def ask(number: int) -> None:
        for _ in range(10):
            answers[number] = predictor.predict(pictures[number]).probabilities
            np.testing.assert_array_equal(answers[number], alone[number])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(16))


# --- the swap -----------------------------------------------------------------------------------------------------
def test_fifty_swaps_under_load_fail_and_mix_nothing(predictor, artifact_folder, tmp_path, make_picture):
    """Two models with disjoint labels and other probabilities: every answer must be wholly of one of them."""
    other = make_artifact(tmp_path / "other", seed=1, labels=("ant", "bee", "cat", "dog"), name="zoo")
    versions = {"tiny": (identity(artifact_folder), artifact_folder), "zoo": (identity(other, "zoo"), other)}
    labels = {name: artifact.read(folder).labels for name, (_, folder) in versions.items()}
    pictures = [make_picture(seed) for seed in range(8)]
    expected: dict[tuple[str, int], np.ndarray] = {}
    for name, version in versions.items():
        predictor.load(*version)
        expected |= {(name, number): predictor.predict(data).probabilities for number, data in enumerate(pictures)}
    done, counts, wrong = threading.Event(), Counter(), []

    def ask(first: int) -> None:
        number = first
        while not done.is_set():
            number = (number + 1) % len(pictures)
            try:
                prediction = predictor.predict(pictures[number])
            except Exception as error:  # noqa: BLE001 - any failed request is what this test looks for
                wrong.append(error)
                return
            name = prediction.identity.name
            counts[name] += 1
            sound = (
                prediction.labels == labels[name]
                and prediction.identity == versions[name][0]
                and np.array_equal(prediction.probabilities, expected[name, number])
            )
            if not sound:
                wrong.append(prediction)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(50):
        name = ("tiny", "zoo")[turn % 2]
        predictor.load(*versions[name])
        assert predictor.predict(pictures[0]).identity.name == name
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert min(counts["tiny"], counts["zoo"]) > 20


def test_a_request_under_way_ends_on_the_model_it_began_with(predictor, artifact_folder, tmp_path, picture):
    other = make_artifact(tmp_path / "other", seed=1, labels=("ant", "bee"), name="zoo")
    slow, answers = slow_down(predictor), []
    (running,) = in_threads(1, lambda: answers.append(predictor.predict(picture)))
    slow.started.acquire()
    predictor.load(identity(other, "zoo"), other)
    slow.go.set()
    running.join()
    assert answers[0].identity == identity(artifact_folder)
    assert "beagle" in answers[0].labels
    assert predictor.predict(picture).identity.name == "zoo"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_model_is_not_loaded_and_the_old_one_answers(predictor, artifact_folder, tmp_path, picture, name):
    folder = shutil.copytree(artifact_folder, tmp_path / "model")
    HOSTILE[name](folder)
    before = predictor.predict(picture)
    try:
        digest = artifact.digest(folder)
    except ArtifactError:
        digest = before.identity.digest
    with pytest.raises(ArtifactError):
        predictor.load(Identity("evil", 1, digest), folder)
    after = predictor.predict(picture)
    assert after.identity == before.identity
    np.testing.assert_array_equal(after.probabilities, before.probabilities)


def test_a_folder_with_another_digest_is_not_loaded(predictor, artifact_folder):
    with pytest.raises(ArtifactError, match="is not the one of tiny:2"):
        predictor.load(Identity("tiny", 2, "0" * 64), artifact_folder)


def test_after_close_nothing_answers(predictor, picture):
    predictor.close()
    with pytest.raises(NoActiveVersion):
        predictor.predict(picture)
