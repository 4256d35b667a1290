"""What a caller may give to be pruned: networks and batches of any kind, and one clear line for the rest."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from nasprune.compute import Compute
from nasprune.descent import DescentSettings
from nasprune.errors import DataError, NetworkError, SettingsError
from nasprune.pruning import prune
from nasprune.search import SearchSettings
from nasprune.training import TrainingSettings
from tests.striped import NOW, QUICK, one, striped, trained_network


@pytest.fixture(scope="module")
def trained():
    return trained_network()


class Multiplying(nn.Module):
    """Has a matrix product of its own beside its layers, and four bands."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(4, 12, 3), nn.Conv2d(12, 8, 3), nn.Linear(8, 2)
        self.mixing = nn.Parameter(torch.eye(2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled = self.second(self.first(images).relu()).relu().mean((2, 3))
        return self.last(pooled) @ self.mixing


def test_multiply_adds_are_those_of_layers_whatever_else_the_network_multiplies():
    train = [(torch.randn(8, 4, 10, 10), torch.randint(2, (8,))) for _ in range(2)]
    quick = DescentSettings(search=SearchSettings(epochs=1), tuning=TrainingSettings(epochs=1), growth=0.0)
    for pruned in prune(Multiplying(), torch.zeros(2, 4, 10, 10), train, [0.6, 0.3], settings=quick, device="cpu"):
        one, two = pruned.network.first.out_channels, pruned.network.second.out_channels
        assert pruned.macs == 8 * 8 * 4 * one * 9 + 6 * 6 * one * two * 9 + two * 2
        assert pruned.macs_ratio == pruned.macs / (8 * 8 * 4 * 12 * 9 + 6 * 6 * 12 * 8 * 9 + 8 * 2) <= pruned.budget


class Mixing(nn.Module):
    """Linear layers over the positions of a map, which do not lie together there, as mixers have them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.mix, self.back, self.last = (
            nn.Conv2d(4, 12, 3), nn.Linear(64, 20), nn.Linear(20, 8), nn.Linear(12, 2)
        )  # fmt: skip

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(self.back(self.mix(self.first(images).flatten(2)).relu()).mean(2))


def test_multiply_adds_are_counted_however_a_layers_input_lies():
    train = [(torch.randn(8, 4, 10, 10), torch.randint(2, (8,))) for _ in range(2)]
    quick = DescentSettings(search=SearchSettings(epochs=1), tuning=TrainingSettings(epochs=1), growth=0.0)
    for pruned in prune(Mixing(), torch.zeros(2, 4, 10, 10), train, [0.8, 0.7], settings=quick, device="cpu"):
        kept = pruned.network.mix.out_features
        assert kept < 20
        assert pruned.macs == 64 * 4 * 12 * 9 + 12 * 64 * kept + 12 * kept * 8 + 12 * 2
        assert pruned.macs_ratio <= pruned.budget


class Spectral(nn.Module):
    """Convolves over bands, rows and columns, and then over rows and columns (HybridSN)."""

    def __init__(self) -> None:
        super().__init__()
        self.volume, self.norm = nn.Conv3d(1, 8, (3, 3, 3)), nn.BatchNorm3d(8)
        self.plane, self.last = nn.Conv2d(8 * 4, 12, 3), nn.Linear(12, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        volume = self.norm(self.volume(images.unsqueeze(1))).relu()
        return self.last(self.plane(volume.flatten(1, 2)).relu().mean((2, 3)))


def test_a_network_over_bands_is_pruned_too():
    train = [(torch.randn(8, 6, 10, 10), torch.randint(2, (8,))) for _ in range(2)]
    quick = DescentSettings(search=SearchSettings(epochs=1), tuning=TrainingSettings(epochs=1), growth=0.0)
    for pruned in prune(Spectral(), torch.zeros(2, 6, 10, 10), train, [0.6, 0.3], settings=quick, device="cpu"):
        one, two = pruned.network.volume.out_channels, pruned.network.plane.out_channels
        assert pruned.macs == 4 * 64 * 27 * one + 36 * 9 * 4 * one * two + two * 2
        assert pruned.macs_ratio <= pruned.budget


def test_kernels_over_images_lie_as_their_batches_do():
    def network():
        torch.manual_seed(0)
        return nn.ModuleList([Spectral(), nn.Conv2d(3, 5, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(8, 8, 3, groups=8)])

    placed = Compute(device=torch.device("cpu"), bfloat16=False).place(network())
    for (name, value), plain in zip(placed.state_dict().items(), network().state_dict().values(), strict=True):
        expected = plain.to(memory_format=torch.channels_last) if plain.dim() == 4 else plain
        assert torch.equal(value, plain), name
        assert value.stride() == expected.stride(), name


class Stream(IterableDataset):
    """Does not know its length."""

    def __iter__(self):
        return ((image, label) for images, labels in striped(64) for image, label in zip(images, labels, strict=True))


def test_loaders_are_asked_their_length_or_run_through_once(trained):
    quick = DescentSettings(search=SearchSettings(epochs=0), tuning=TrainingSettings(epochs=1), growth=0.0)
    asked = []

    class Counted(list):
        def __iter__(self):
            asked.append("run through")
            return super().__iter__()

    one(trained, DataLoader(Stream(), batch_size=16), 0.5, settings=quick)
    one(trained, striped(32), 0.5, validation=Counted(striped(32)), settings=quick)
    assert len(asked) == 3  # before the work, right after the cut, and tuned


def test_bad_requests_are_named(trained):
    with pytest.raises(SettingsError, match="already costs"):
        one(trained, striped(32), 1e-4)
    with pytest.raises(SettingsError, match=r"budgets 0.5 given; expected a list of them, as \[0.5\]"):
        prune(trained, torch.zeros(2, 3, 16, 16), striped(32), 0.5, device="cpu")
    with pytest.raises(SettingsError, match="no batches given"):
        one(trained, [], 0.5)
    with pytest.raises(SettingsError, match="an iterator given"):
        one(trained, iter(striped(32)), 0.5)
    with pytest.raises(NetworkError, match="nothing to prune"):
        prune(
            nn.Sequential(nn.Flatten(), nn.Linear(768, 2)), torch.zeros(2, 3, 16, 16), striped(32), [0.5], device="cpu"
        )


class Speaking(nn.Module):
    """Makes what it is told to, in evaluation and in training."""

    def __init__(self, in_evaluation, in_training):
        super().__init__()
        self.first, self.last, self.beside = nn.Conv2d(3, 8, 3), nn.Linear(8, 2), nn.Linear(8, 2)
        self.ways = (in_evaluation, in_training)

    def forward(self, images):
        features = self.first(images).relu().mean((2, 3))
        return self.ways[self.training](self, features)


def logits(network, features):
    return network.last(features)


def pair(network, features):
    return network.last(features), network.beside(features)


def named(network, features):
    return {"logits": network.last(features)}


def both(network, features):
    return network.last(features) + network.beside(features)


def maps(network, features):
    return network.last(features)[:, :, None]


@pytest.mark.parametrize(
    ("ways", "said"),
    [
        ((pair, pair), "makes tuple in evaluation from 2 images; expected logits"),
        ((named, logits), "makes dict in evaluation"),
        ((maps, maps), r"makes an output of \(2, 2, 1\) in evaluation"),
        ((logits, pair), "makes tuple in training from 2 images; expected logits"),
        ((logits, lambda *_: None), "makes NoneType in training"),
        ((logits, lambda *_: 1 // 0), "does not run in training on 2 images: integer"),
    ],
)
def test_what_makes_anything_but_logits_is_named_before_any_work(ways, said):
    with pytest.raises(NetworkError, match=said):
        prune(Speaking(*ways), torch.zeros(2, 3, 16, 16), striped(32), [0.5], device="cpu")


def test_channels_that_a_way_of_training_alone_reads_stay(trained):
    quick = DescentSettings(search=SearchSettings(epochs=1), tuning=TrainingSettings(epochs=1), growth=0.0)
    with pytest.raises(NetworkError, match="cannot be cut exactly at first"):
        one(Speaking(logits, both), striped(32), 0.5, settings=quick)
    network = nn.Sequential(trained[:6], Speaking(logits, both))
    network[1].first = nn.Conv2d(24, 8, 3)
    pruned = one(network, striped(32), 0.5, settings=quick)
    assert pruned.whole["1.first"] == "what the network's own code does in training alone holds its width"
    assert set(pruned.widths) == {"0.0", "0.3"}


def test_a_network_in_parallel_is_the_network(trained):
    quick = DescentSettings(search=SearchSettings(epochs=0), tuning=TrainingSettings(epochs=1), growth=0.0)
    held, plain = (one(given, striped(32), 0.5, settings=quick) for given in (nn.DataParallel(trained), trained))
    assert held.widths == plain.widths
    assert all(map(torch.equal, held.network.state_dict().values(), plain.network.state_dict().values()))


def test_batches_of_any_kind_of_number_are_taken_by_their_values(trained):
    plain = [((images * 50).round(), labels) for images, labels in striped(64)]
    of_all = [([images.to(kind), labels.int()[:, None]]) for (images, labels), kind in zip(
        plain, (torch.float64, torch.int8, torch.float32, torch.int64), strict=True)]  # fmt: skip
    one_way, other = (one(trained, given, 0.5, validation=given, settings=NOW) for given in (plain, of_all))
    assert all(map(torch.equal, one_way.network.state_dict().values(), other.network.state_dict().values()))
    assert one_way.val_accuracy == other.val_accuracy
    double = one(copy.deepcopy(trained).double(), plain, 0.5, settings=NOW)
    assert all(map(torch.equal, one_way.network.state_dict().values(), double.network.state_dict().values()))


IMAGES, LABELS = torch.zeros(4, 3, 16, 16), torch.tensor([0, 1, 1, 0])


@pytest.mark.parametrize(
    ("batch", "error", "said"),
    [
        ({"images": IMAGES, "labels": LABELS}, SettingsError, "that is a dict given; expected a pair of tensors"),
        ((IMAGES, LABELS, LABELS), SettingsError, "that is a tuple of Tensor, Tensor, Tensor given"),
        ((IMAGES.numpy(), LABELS.numpy()), SettingsError, "that is a tuple of ndarray, ndarray given"),
        (IMAGES, SettingsError, "that is a Tensor given"),
        ((IMAGES[:, :1], LABELS), SettingsError, r"images \(4, 1, 16, 16\) given; expected \(B, 3, H, W\)"),
        ((IMAGES[0], LABELS), SettingsError, r"images \(3, 16, 16\) given"),
        ((IMAGES[:0], LABELS[:0]), SettingsError, r"images \(0, 3, 16, 16\) given; .* and B at least 1"),
        ((IMAGES, LABELS[:3]), SettingsError, r"labels \(3,\) of torch.int64 given with 4 images"),
        ((IMAGES, torch.eye(4)[:, :2]), SettingsError, r"labels \(4, 2\) of torch.float32 given"),
        ((IMAGES, LABELS.float()), SettingsError, r"labels \(4,\) of torch.float32 given"),
        ((IMAGES, LABELS + 1), DataError, "labels from 1 to 2 given; expected 0 to 1"),
    ],
)
@pytest.mark.parametrize("where", ["train", "validation", "test"])
def test_a_batch_that_cannot_be_used_is_named_before_any_work(trained, batch, error, said, where):
    worked = []
    given = {"train": striped(32)} | {where: [batch]}
    with pytest.raises(error, match=said):
        one(trained, **given, budget=0.5, settings=QUICK, report=lambda *progress: worked.append(progress))
    assert not worked


@pytest.mark.parametrize("where", ["train", "validation", "test"])
def test_images_of_a_size_that_the_network_does_not_run_on_are_named_before_any_work(where):
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 2))
    worked = []
    given = {"train": striped(32)} | {where: [*striped(16), (IMAGES[..., :12], LABELS)]}
    with pytest.raises(SettingsError, match=r"images \(3, 16, 12\) given, .* does not run .*, \(3, 16, 16\)$"):
        one(network, **given, budget=0.5, settings=QUICK, report=lambda *progress: worked.append(progress))
    assert not worked


def test_a_last_batch_of_one_image_is_trained_on_or_named_before_any_work(trained):
    batches = [*striped(32), (IMAGES[:1], LABELS[:1])]
    one(trained, batches, 0.5, settings=NOW)
    normed = nn.Sequential(trained[:8], nn.BatchNorm1d(24), nn.Linear(24, 2)).eval()
    worked = []
    with pytest.raises(SettingsError, match=r"^a batch of one image given, .*drop_last=True"):
        one(normed, batches, 0.5, settings=QUICK, report=lambda *progress: worked.append(progress))
    assert not worked
    one(normed, striped(32), 0.5, validation=batches, settings=NOW)


def test_budgets_that_would_share_their_checkpoints_are_refused(trained):
    with pytest.raises(SettingsError, match="below the one before, by six digits"):
        prune(trained, torch.zeros(2, 3, 16, 16), striped(32), [0.5, 0.4999999], device="cpu")
