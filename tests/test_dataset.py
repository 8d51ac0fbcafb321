"""The training stream: a function of (seed, number), the same whoever loads it and wherever it starts."""

from __future__ import annotations

import os
import pickle
import re
import signal
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mcltool.core.config import DataConfig
from mcltool.core.errors import DataError, UsageError
from mcltool.data.batch import Batch
from mcltool.data.dataset import EvaluationData, TrainingData
from mcltool.data.loader import SampleStream, training_loader
from mcltool.plugin.contract import Condition, ConditionSpec, DatasetPlugin, Sample

PLAIN = DataConfig(size=(32, 32), load_scale=1.0, flip=False, exemplar_self=0.0)
BUSY = DataConfig(size=(32, 32), load_scale=1.25, flip=True, exemplar_self=0.3)


class Numbered(DatasetPlugin):
    """Photo i is of the grey level i all over, its labels are noise; sample ``broken`` cannot be read."""

    name = "numbered"

    def __init__(self, groups, broken=None, shape=(40, 48)):
        self.groups, self.broken, self.shape = groups, broken, shape

    @property
    def spec(self):
        return ConditionSpec("labels", ("a", "b", "c"), ((0, 0, 0), (9, 9, 9), (99, 0, 0)))

    def index(self, root, split):
        return [Sample(str(i), Path(f"{i}.jpg"), (), group) for i, group in enumerate(self.groups)]

    def read_condition(self, files):
        raise NotImplementedError

    def photo(self, sample, short_side):
        if sample.id == self.broken:
            raise DataError(f"{sample.photo}: damaged or cut-off image")
        return np.full((40, 48, 3), int(sample.id), np.uint8)

    def condition(self, sample, short_side):
        labels = np.random.default_rng(int(sample.id)).integers(0, 3, self.shape, np.uint8)
        return Condition(labels.shape, labels)


def training_data(groups, config, seed=0, **options):
    plugin = Numbered(groups, options.pop("broken", None))
    return TrainingData(plugin, plugin.index(None, "train"), config, seed, **options)


def who(item):
    """Which samples are photo and exemplar of an item."""
    return int(item["target"][0, 0, 0]), int(item["exemplar"][0, 0, 0])


def same(first, second):
    return all(map(torch.equal, first, second))


def load(data, stream, workers=0):
    return list(training_loader(data, stream, workers, "cpu"))


def test_an_item_holds_what_a_batch_promises():
    item = training_data([""] * 5, BUSY)[3]
    assert set(item) == set(Batch._fields)
    for name in ("target", "exemplar", "augmented"):
        assert (item[name].shape, item[name].dtype) == ((3, 32, 32), torch.uint8)
    for name in ("condition", "exemplar_condition"):
        assert (item[name].shape, item[name].dtype) == ((32, 32), torch.uint8)
    assert (item["paired"].shape, item["paired"].dtype) == ((), torch.bool)


def test_an_epoch_holds_every_sample_once_in_an_order_of_its_own():
    data = training_data([""] * 20, PLAIN)
    orders = [[who(data[n])[0] for n in range(epoch * 20, epoch * 20 + 20)] for epoch in range(3)]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert [who(data[n])[0] for n in range(20)] == orders[0]  # back from another epoch
    other_seed = training_data([""] * 20, PLAIN, seed=1)
    assert [who(other_seed[n])[0] for n in range(20)] != orders[0]


def test_a_resumed_run_sees_the_batches_of_an_uninterrupted_one():
    groups = ["g", "g", "h", "h", "", "", "g"]
    whole = load(training_data(groups, BUSY), SampleStream(0, 8, 0, 1, 3))
    resumed = load(training_data(groups, BUSY), SampleStream(5, 8, 0, 1, 3))
    assert len(whole) == 8
    assert len(resumed) == 3
    assert all(same(a, b) for a, b in zip(whole[5:], resumed, strict=True))
    assert not same(whole[0], whole[5])


def test_the_same_photo_is_seen_differently_in_each_epoch():
    data = training_data([""], BUSY)
    views = [data[n] for n in range(6)]
    for name in ("condition", "exemplar_condition"):
        assert len({v[name].numpy().tobytes() for v in views}) == 6
    assert all(not torch.equal(v["condition"], v["exemplar_condition"]) for v in views)


def test_workers_change_nothing():
    groups = ["g", "g", "", "", "h", "h"]
    stream = SampleStream(1, 6, 0, 1, 4)
    alone = load(training_data(groups, BUSY), stream)
    assert len(alone) == 5
    for workers in (1, 2):
        others = load(training_data(groups, BUSY), stream, workers)
        assert all(same(a, b) for a, b in zip(alone, others, strict=True))


def test_two_ranks_share_the_doubled_batch_of_one():
    one = list(SampleStream(2, 6, 0, 1, 8))
    first, second = (list(SampleStream(2, 6, rank, 2, 8)) for rank in (0, 1))
    assert [a + b for a, b in zip(first, second, strict=True)] == one
    assert one[0] == list(range(16, 24))
    assert len(SampleStream(2, 6, 0, 2, 8)) == 4
    assert list(SampleStream(6, 6, 0, 1, 4)) == []


def test_a_batch_in_parts_is_the_same_samples() -> None:
    whole = list(SampleStream(2, 4, 0, 1, 8))
    parts = [list(SampleStream(2, 4, rank, 2, 8, parts=2)) for rank in (0, 1)]
    assert len(SampleStream(2, 4, 0, 2, 8, parts=2)) == len(parts[0]) == 4
    for step in (0, 1):
        assert [n for rank in parts for p in rank[2 * step : 2 * step + 2] for n in p] == whole[step]


def test_a_batch_that_cannot_be_shared_out_is_refused() -> None:
    with pytest.raises(UsageError, match="a batch of 8 does not divide among 3 processes"):
        SampleStream(0, 1, 0, 3, 8)
    with pytest.raises(UsageError, match=r"among 2 processes in 8 parts \(train.accumulate\)"):
        SampleStream(0, 1, 0, 2, 8, parts=8)


def test_loading_leaves_the_trainers_random_state_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    load(training_data([""] * 3, BUSY), SampleStream(0, 2, 0, 1, 2))
    assert torch.equal(torch.rand(3), expected)


def test_a_group_member_is_the_exemplar_and_never_the_photo_itself():
    groups = ["g", "g", "g", "h", "h"]
    data = training_data(groups, PLAIN)
    pairs = Counter()
    for n in range(200):
        photo, exemplar = who(data[n])
        assert exemplar != photo
        assert groups[exemplar] == groups[photo]
        assert data[n]["paired"]
        pairs[photo, exemplar] += 1
    assert len(pairs) == 6 + 2  # every ordered pair is drawn
    assert pairs[3, 4] == pairs[4, 3] == 40


def test_the_exemplars_condition_is_its_own():
    data = training_data(["g", "g"], PLAIN)
    plugin, samples = data.plugin, data.samples
    fixed = EvaluationData(plugin, samples, PLAIN)
    for item in (fixed[0], fixed[1]):
        photo, exemplar = who(item)
        assert torch.equal(item["condition"], fixed[photo]["condition"])
        assert torch.equal(item["exemplar_condition"], fixed[exemplar]["condition"])
    # In training the crop differs, but the labels are the exemplar's still: a window of its whole map.
    item = data[0]
    whole = plugin.condition(samples[who(item)[1]], 0).raster
    resized = cv2.resize(whole, (38, 32), interpolation=cv2.INTER_NEAREST_EXACT)
    windows = [resized[:, left : left + 32] for left in range(7)]
    assert any(np.array_equal(item["exemplar_condition"], window) for window in windows)


def test_photo_and_exemplar_are_mirrored_apart():
    class Sided(Numbered):
        def photo(self, sample, short_side):
            photo = np.zeros((32, 32, 3), np.uint8)
            photo[:, 16:] = 255
            return photo

        def condition(self, sample, short_side):
            return Condition((32, 32), self.photo(sample, 0)[..., 0] // 255)

    plugin = Sided(["g", "g"])
    config = DataConfig(size=(32, 32), load_scale=1.0, flip=True, exemplar_self=0.0)
    data = TrainingData(plugin, plugin.index(None, "train"), config, 0)
    seen = Counter()
    for n in range(100):
        item = data[n]
        sides = [bool(item[name][0, 0, 0]) for name in ("target", "exemplar")]
        assert sides == [bool(item[name][0, 0]) for name in ("condition", "exemplar_condition")]
        seen[tuple(sides)] += 1
    assert min(seen.values()) > 10
    assert len(seen) == 4


def test_exemplar_self_is_the_share_of_own_copies():
    config = DataConfig(size=(32, 32), load_scale=1.0, exemplar_self=0.25)
    data = training_data(["g"] * 4, config)
    items = [data[n] for n in range(400)]
    own = [photo == exemplar for photo, exemplar in map(who, items)]
    assert 70 < sum(own) < 130
    assert all(item["paired"] for item in items)
    always = training_data(["g"] * 4, DataConfig(size=(32, 32), load_scale=1.0, exemplar_self=1.0))
    assert all(photo == exemplar for photo, exemplar in (who(always[n]) for n in range(20)))


def test_without_a_group_the_exemplar_is_the_photo_augmented():
    data = training_data(["", "", "lonely"], PLAIN)
    for n in range(9):
        item = data[n]
        photo, exemplar = who(item)
        assert photo == exemplar
        assert item["paired"]
        assert not torch.equal(item["condition"], item["exemplar_condition"])


def test_the_augmented_target_is_another_picture_of_the_photo():
    class Noise(Numbered):
        def photo(self, sample, short_side):
            return np.random.default_rng(int(sample.id)).integers(0, 256, (32, 32, 3), np.uint8)

        def condition(self, sample, short_side):
            return Condition((32, 32), np.zeros((32, 32), np.uint8))

    plugin = Noise(["g", "g"])
    samples = plugin.index(None, "train")
    item = TrainingData(plugin, samples, PLAIN, 0)[0]
    assert not torch.equal(item["augmented"], item["target"])
    photos = [torch.from_numpy(plugin.photo(s, 0)).permute(2, 0, 1).float() for s in samples]
    assert any(torch.equal(item["target"].float(), photo) for photo in photos)
    held_out = EvaluationData(plugin, samples, PLAIN)[0]
    assert torch.equal(held_out["augmented"], held_out["target"])


@pytest.mark.slow
def test_retrieved_exemplars_are_unpaired_and_drawn_where_there_is_no_group():
    config = DataConfig(size=(32, 32), load_scale=1.0, exemplar_self=0.3)
    groups = ["", "", "", "", "g", "g"]
    retrieved = [[1, 2], [0], [], [0, 1, 2], [0], [0]]
    data = training_data(groups, config, retrieved=retrieved)
    seen = Counter()
    for n in range(1200):
        item = data[n]
        photo, exemplar = who(item)
        seen[photo, exemplar] += 1
        assert bool(item["paired"]) == (photo == exemplar or photo >= 4)
    chosen = {photo: {e for p, e in seen if p == photo} for photo in range(6)}
    assert chosen == {0: {0, 1, 2}, 1: {0, 1}, 2: {2}, 3: {0, 1, 2, 3}, 4: {4, 5}, 5: {4, 5}}
    own = sum(seen[p, p] for p in (0, 1, 3, 4, 5))
    assert 0.25 < own / 1000 < 0.35
    with pytest.raises(ValueError, match="5 lists of retrieved exemplars for 6 samples"):
        training_data(groups, config, retrieved=retrieved[:5])


def test_evaluation_pairs_are_fixed():
    groups = ["g", "", "g", "h", "g", ""]
    plugin = Numbered(groups)
    data = EvaluationData(plugin, plugin.index(None, "val"), BUSY)
    assert [who(data[i]) for i in range(6)] == [(0, 2), (1, 2), (2, 4), (3, 4), (4, 0), (5, 0)]
    assert [bool(data[i]["paired"]) for i in range(6)] == [True, False, True, False, True, False]
    assert len(data) == len(list(data)) == 6
    first, again = data[0], data[0]
    assert all(torch.equal(first[name], again[name]) for name in first)
    alone = EvaluationData(plugin, plugin.index(None, "val")[:1], BUSY)
    assert who(alone[0]) == (0, 0)
    assert alone[0]["paired"]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_error_arrives_as_it_was_raised(workers):
    data = training_data([""] * 6, PLAIN, broken="3")
    place = [who(training_data([""] * 6, PLAIN)[n])[0] for n in range(6)].index(3)
    batches = training_loader(data, SampleStream(0, 3, 0, 1, 2), workers, "cpu")
    for _ in range(place // 2):
        next(batches)
    with pytest.raises(DataError) as raised:
        next(batches)
    assert str(raised.value) == "3.jpg: damaged or cut-off image"


def test_photo_and_condition_of_different_pictures_are_an_error():
    plugin = Numbered(["", ""], shape=(48, 40))
    data = TrainingData(plugin, plugin.index(None, "train"), PLAIN, 0)
    with pytest.raises(DataError, match=r"^[01]\.jpg: the photo is 48 x 40 pixels and its condition 40 x 48"):
        data[0]


@pytest.mark.parametrize(
    ("shape", "dtype"), [((40, 48), "uint8"), ((40, 48, 4), "uint8"), ((40, 48, 3), "float32")]
)
def test_a_photo_of_the_wrong_kind_is_an_error(shape, dtype):
    class Wrong(Numbered):
        def photo(self, sample, short_side):
            return np.zeros(shape, dtype)

    plugin = Wrong([""])
    with pytest.raises(
        DataError, match=rf"^numbered: photo\(\) gave {re.escape(str(shape))} {dtype}, expected"
    ):
        TrainingData(plugin, plugin.index(None, "train"), PLAIN, 0)[0]


def test_a_data_set_without_samples_is_an_error():
    with pytest.raises(UsageError, match="numbered: the data set has no samples"):
        training_data([], PLAIN)
    with pytest.raises(UsageError, match="numbered: the data set has no samples"):
        EvaluationData(Numbered([]), [], PLAIN)


def test_data_can_be_sent_to_a_worker_that_was_spawned():
    data = training_data(["g", "g", ""], BUSY)
    data[0]
    sent = pickle.loads(pickle.dumps(data))
    for n in (0, 1, 5):
        item, other = data[n], sent[n]
        assert all(torch.equal(item[name], other[name]) for name in item)


class AboutTheProcess:
    """Samples that say how the process that made them is set up."""

    def item(self, number):
        ignores = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        facts = torch.tensor([os.getpid(), int(ignores), cv2.getNumThreads(), torch.get_num_threads()])
        return {"facts": facts}

    def arrive(self, batch):
        return batch


def test_workers_ignore_ctrl_c_and_use_one_thread():
    before = signal.getsignal(signal.SIGINT)
    batch = next(training_loader(AboutTheProcess(), SampleStream(0, 2, 0, 1, 1), 1, "cpu"))
    pid, ignores, cv_threads, torch_threads = batch["facts"][0].tolist()
    assert pid != os.getpid()
    assert ignores
    assert cv_threads == 1
    assert torch_threads == 1
    assert signal.getsignal(signal.SIGINT) is before
