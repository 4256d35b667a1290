"""Laws of the schedule, the distillation loss, re-calibration and checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models.convnext import CNBlock

from nasprune.compute import choose_compute
from nasprune.errors import ArtifactError, DataError, SettingsError, TrainingError
from nasprune.lessons import Lessons
from nasprune.progress import Progress
from nasprune.session import Session, State
from nasprune.training import (
    TrainingSettings,
    confusion,
    distillation_loss,
    evaluate,
    fit,
    one_cycle,
    recalibrate,
    sgd,
)
from tests.waiting import Waits

COMPUTE = choose_compute("cpu")


def test_one_cycle_rises_once_and_ends_at_nothing():
    rates = [one_cycle(step / 1000, 0.2) for step in range(1001)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(1)
    assert top == 200
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_a_student_that_is_its_teacher_has_no_divergence():
    logits, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    cross_entropy = nn.functional.cross_entropy(logits, labels)
    assert distillation_loss(logits, logits, labels, 1.0, 4.0) == pytest.approx(0, abs=1e-6)
    assert distillation_loss(logits, logits, labels, 0.25, 4.0) == pytest.approx(0.75 * float(cross_entropy))
    assert distillation_loss(logits, -logits, labels, 1.0, 4.0) > 0.01


class Given:
    """Batches of given tensors."""

    def __init__(self, *batches):
        self.batches = batches
        self.images_count = sum(len(images) for images, _ in batches)

    def __len__(self):
        return len(self.batches)

    def epoch(self, number):
        return iter(self.batches)


def test_recalibration_is_the_plain_average_over_batches():
    norm = nn.BatchNorm2d(2)
    network = nn.Sequential(norm, nn.Dropout(0.9))
    batches = [torch.randn(6, 2, 3, 3) * 2 + 1 for _ in range(3)]
    recalibrate(network, Given(*((batch, None) for batch in batches)), COMPUTE)
    means = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    variances = torch.stack([batch.transpose(0, 1).flatten(1).var(1) for batch in batches]).mean(0)
    assert torch.allclose(norm.running_mean, means, atol=1e-5)
    assert torch.allclose(norm.running_var, variances, atol=1e-4)
    assert norm.momentum == 0.1
    assert not any(module.training for module in network.modules())


class Twice(nn.Module):
    """Calls its norm twice, the second time on what is larger."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.norm(self.norm(images) * 3 + 5)


def test_recalibration_is_the_plain_average_over_all_calls_of_a_norm():
    network = Twice()
    recalibrate(network, Given(*((torch.randn(64, 3, 8, 8) * 2 + 1, None) for _ in range(2))), COMPUTE)
    assert torch.allclose(network.norm.running_mean, torch.tensor((1.0 + 5.0) / 2), atol=0.1)
    assert torch.allclose(network.norm.running_var, torch.tensor((4.0 + 9.0) / 2), atol=0.3)
    assert network.norm.momentum == 0.1
    assert not network.norm._forward_pre_hooks


@pytest.mark.parametrize(("kind", "sides"), [(nn.BatchNorm1d, ()), (nn.BatchNorm1d, (5,)), (nn.BatchNorm3d, (2, 3, 4))])
def test_recalibration_is_of_batch_norms_over_any_number_of_sides(kind, sides):
    norm, without = kind(2), kind(2, track_running_stats=False)
    batches = [torch.randn(6, 2, *sides) * 2 + 1 for _ in range(2)]
    recalibrate(nn.Sequential(norm, without), Given(*((batch, None) for batch in batches)), COMPUTE)
    means = torch.stack([batch.transpose(0, 1).flatten(1).mean(1) for batch in batches]).mean(0)
    assert torch.allclose(norm.running_mean, means, atol=1e-5)
    assert without.running_mean is None


def test_accuracy_counts_every_image_once():
    network = nn.Flatten()  # the logits are the image
    images = torch.eye(4).reshape(4, 4, 1, 1)
    batches = Given((images[:3], torch.tensor([0, 1, 1])), (images[3:], torch.tensor([3])))
    assert evaluate(network, batches) == 0.75
    assert confusion(network, batches) == {(0, 0): 1, (1, 1): 1, (1, 2): 1, (3, 3): 1}


def test_labels_may_be_of_any_kind_of_whole_number():
    images = torch.eye(100).reshape(100, 100, 1, 1)
    assert evaluate(nn.Flatten(), Given((images, torch.arange(100, dtype=torch.uint8)))) == 1.0


@pytest.mark.parametrize(("labels", "said"), [([0, 4], "labels from 0 to 4"), ([-1, 2], "labels from -1 to 2")])
def test_a_label_without_a_logit_is_refused(labels, said):
    with pytest.raises(DataError, match=f"{said} given; expected 0 to 3"):
        confusion(nn.Flatten(), Given((torch.eye(4)[:2].reshape(2, 4, 1, 1), torch.tensor(labels))))


@pytest.mark.parametrize("work", ["fit", "recalibrate", "evaluate"])
def test_nothing_waits_for_a_value_between_batches(work):
    """A GPU computes a batch while the processor tells it of the next."""

    def waits(count):
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        batches = Given(*((torch.randn(6, 3, 8, 8), torch.tensor([0, 1, 2, 3, 0, 1])) for _ in range(count)))
        with Waits() as counted:
            if work == "fit":
                settings = TrainingSettings(epochs=1)
                fit(network, Lessons(batches), settings, COMPUTE, phase="p", seed=0, session=Session())
            elif work == "recalibrate":
                recalibrate(network, batches, COMPUTE)
            else:
                evaluate(network, batches)
        return counted.count

    assert waits(2) == waits(5)


def stepper(network, optimizer):
    def step(epoch):
        optimizer.zero_grad()
        (network.weight.sum() * (epoch + 1)).backward()
        optimizer.step()
        return {"loss": 0.0}

    return step


def test_checkpoint_restores_optimizers_too(tmp_path):
    def fresh():
        torch.manual_seed(0)
        network = nn.Linear(2, 2)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
        return network, optimizer, State(modules={"n": network}, optimizers={"a": optimizer})

    whole, optimizer, state = fresh()
    Session().run("phase", 4, stepper(whole, optimizer), state)
    for epochs in (2, 4):  # a second session goes on from the first one's file
        part, optimizer, state = fresh()
        Session(tmp_path, seconds_between=0).run("phase", epochs, stepper(part, optimizer), state)
    assert torch.equal(whole.weight, part.weight)


def test_checkpoint_keeps_what_networks_leave_out_of_their_state(tmp_path):
    def seen(count):
        network = nn.Linear(2, 2)
        network.register_buffer("seen", torch.full((2,), count), persistent=False)
        Session(tmp_path).run("phase", 1, lambda _: {}, State(modules={"n": network}))
        return network.seen.tolist()

    assert seen(3.0) == seen(0.0) == [3.0, 3.0]


class Versioned(nn.Linear):
    """Adds to its state what is no tensor."""

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 3}

    def set_extra_state(self, state: dict[str, int]) -> None:
        assert state == {"version": 3}


def test_a_module_may_add_to_its_state_what_no_checkpoint_can_keep(tmp_path):
    def weights(value):
        network = Versioned(2, 2)
        network.weight.data.fill_(value)
        Session(tmp_path).run("phase", 1, lambda _: {}, State(modules={"n": network}))
        return network.weight.tolist()

    assert weights(3.0) == weights(0.0) == [[3.0, 3.0], [3.0, 3.0]]


ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=ON_GPU)])
def test_momentum_comes_back_in_the_layout_of_its_weights(tmp_path, device):
    """The fused kernels of SGD run through both as they lie in memory."""

    def fresh():
        torch.manual_seed(0)
        network = nn.Conv2d(3, 4, 3).to(device, memory_format=torch.channels_last)
        return network, sgd(network, TrainingSettings(epochs=4, learning_rate=0.1))

    def step(network, optimizer):
        def train(epoch):
            torch.manual_seed(epoch)
            network.weight.grad = torch.randn_like(network.weight)
            optimizer.step()
            return {"loss": 0.0}

        return train

    whole, optimizer = fresh()
    Session().run("phase", 4, step(whole, optimizer), State())
    for epochs in (2, 4):
        part, optimizer = fresh()
        state = State(modules={"n": part}, optimizers={"sgd": optimizer})
        Session(tmp_path, seconds_between=0).run("phase", epochs, step(part, optimizer), state)
    assert torch.equal(whole.weight, part.weight)
    assert part.weight.is_contiguous(memory_format=torch.channels_last)


def test_checkpoint_comes_before_its_report(tmp_path):
    network, seen = nn.Linear(2, 2), []

    def report(progress: Progress) -> None:
        seen.append((tmp_path / "phase.safetensors").exists())

    Session(tmp_path, report, seconds_between=0).run("phase", 2, lambda _: {}, State(modules={"n": network}))
    assert seen == [True, True]


def test_checkpoints_that_take_long_are_rarer(tmp_path, monkeypatch):
    """A second of work an epoch, five seconds for a checkpoint that goes far away: every hundredth second at most."""
    clock, kept = [0.0], []
    monkeypatch.setattr("nasprune.session.time.monotonic", lambda: clock[0])

    def work(_: int) -> dict[str, float]:
        clock[0] += 1
        return {}

    def keep(path: Path) -> None:
        kept.append(clock[0])
        clock[0] += 5

    state = State(modules={"n": nn.Linear(2, 2)})
    clock[0] = 100.0
    Session(tmp_path, kept=keep).run("phase", 250, work, state)
    assert kept == [101.0, 206.0, 311.0, 365.0]  # the last epoch's, whenever it comes
    assert (tmp_path / "phase.safetensors").exists()


def test_an_epoch_that_nobody_heard_of_is_told_again(tmp_path):
    """A checkpoint comes before its report, so the report may be lost in a kill; its metrics are in the checkpoint."""
    state, told = State(modules={"n": nn.Linear(2, 2)}), []

    def killed(progress: Progress) -> None:
        told.append(progress)
        if progress.epoch == 2:
            raise KeyboardInterrupt

    def train(epoch: int) -> dict[str, float]:
        return {"loss": epoch / 3}

    with pytest.raises(KeyboardInterrupt):
        Session(tmp_path, killed).run("phase", 2, train, state)
    again = []
    Session(tmp_path, again.append).run("phase", 3, train, state)
    assert (again[0].epoch, again[0].metrics) == (told[-1].epoch, told[-1].metrics)
    assert [progress.epoch for progress in again] == [2, 3]


def test_foreign_and_damaged_checkpoints_are_refused(tmp_path):
    state = State(modules={"n": nn.Linear(2, 2)})
    Session(tmp_path, identity="one").run("phase", 1, lambda _: {}, state)
    with pytest.raises(ArtifactError, match="other settings"):
        Session(tmp_path, identity="two").run("phase", 1, lambda _: {}, state)
    path = tmp_path / "phase.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ArtifactError, match="damaged"):
        Session(tmp_path, identity="one").run("phase", 1, lambda _: {}, state)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"epochs": 0}, "0 epochs given"),
        ({"learning_rate": 0}, "learning rate 0 given"),
        ({"momentum": 1}, "training momentum 1 given; expected 0 to 0.999"),
        ({"weight_decay": -1}, "training weight_decay -1 given"),
        ({"clip": 0}, "clip 0 given; expected a norm above 0"),
        ({"clip": float("nan")}, "clip nan given"),
        ({"temperature": 0}, "temperature 0 given; expected 0.1 to 100"),
        ({"distillation": 1.5}, "distillation 1.5 given"),
    ],
)
def test_wrong_training_settings(wrong, said):
    with pytest.raises(SettingsError, match=said):
        TrainingSettings(**{"epochs": 1, **wrong})


def test_training_without_momentum_is_plain_gradient_descent():
    layer = nn.Linear(2, 2)
    before = layer.weight.detach().clone()
    optimizer = sgd(layer, TrainingSettings(epochs=1, learning_rate=0.5, momentum=0, weight_decay=0))
    for _ in range(2):
        layer.weight.grad = torch.ones(2, 2)
        optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), before - 1)


def test_weights_of_layers_decay_alone():
    """Also where a layer was cut to one channel; the scale of ConvNeXt's channels is no layer, whatever its shape."""
    network = nn.ModuleDict({"block": CNBlock(8, 1.0, 0.0), "cut": nn.Conv2d(8, 1, 1), "next": nn.Conv2d(1, 8, 1)})
    assert dict(network.named_parameters())["block.layer_scale"].shape == (8, 1, 1)
    decayed = {
        id(p)
        for group in sgd(network, TrainingSettings(epochs=1)).param_groups
        if group["weight_decay"]
        for p in group["params"]
    }
    layers = {f"{name}.weight" for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    assert {name for name, p in network.named_parameters() if id(p) in decayed} == layers


def test_bfloat16_is_off_where_the_processor_has_none(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert not choose_compute("cpu").bfloat16
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert choose_compute("cpu").bfloat16


def test_bfloat16_is_off_where_a_gpu_only_emulates_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert not choose_compute("cuda").bfloat16
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert choose_compute("cuda").bfloat16


def test_a_training_that_diverges_says_so_and_keeps_the_last_good_checkpoint(tmp_path):
    state = State(tensors={"weight": torch.zeros(1)})
    losses = [2.0, 1.0, float("nan"), 1.0]

    def train_epoch(epoch):
        state.tensors["weight"].fill_(losses[epoch])
        return {"loss": losses[epoch]}

    for _ in range(2):  # nor does going on help
        with pytest.raises(TrainingError, match=r"^tune: the loss is nan after epoch 3 of 4; .* lower learning rate"):
            Session(tmp_path, seconds_between=0).run("tune", 4, train_epoch, state)
        kept = State(tensors={"weight": torch.zeros(1)})
        assert Session(tmp_path)._restore("tune", kept)[0] in (1, 2)  # the first at once, others as time allows
        assert float(kept.tensors["weight"]) in (1, 2)


def test_the_distillation_loss_is_hintons():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(5, 4, generator=generator), torch.randn(5, 4, generator=generator)
    labels = torch.tensor([0, 1, 2, 3, 0])
    said, meant = (student / 3).softmax(1), (teacher / 3).softmax(1)
    divergence = (meant * (meant / said).log()).sum(1).mean()
    wanted = 0.3 * nn.functional.cross_entropy(student, labels) + 0.7 * 3**2 * divergence
    assert float(distillation_loss(student, teacher, labels, 0.7, 3.0)) == pytest.approx(float(wanted), rel=1e-5)
